"""Makes tables of many files for `bench share`, and opens one as a plain reader does.

usage: share_tables.py make FOLDER FILES [FILES ...]     writes FOLDER/files_<FILES>, logs only
       share_tables.py open TABLE ROUNDS                 opens it and lists its files, ROUNDS times

The data files that the logs name do not exist: neither side of the comparison reads one. Everything else is as a
publisher leaves it: statistics of every column, commits of up to 1,000 files, a checkpoint, and one commit behind it.
Of the largest table there is FOLDER/commits_<FILES>, too: the same without the checkpoint.
"""

import json
import pathlib
import shutil
import sys
import time
import uuid

from deltalake import DeltaTable

COMMIT_FILES = 1_000
ROWS = 1_000
EPOCH_MILLIS = 1_767_225_600_000
COLUMNS = {
    "id": "long",
    "sku": "string",
    "title": "string",
    "price": "double",
    "in_stock": "boolean",
    "seen_on": "date",
    "run_id": "string",
    "run_finished_at": "timestamp",
}


def commit(log, version, actions):
    lines = "".join(json.dumps(action, separators=(",", ":")) + "\n" for action in actions)
    (log / f"{version:020}.json").write_text(lines)


def add(number):
    """One file: its `id`s are its own, so that a predicate on them leaves out every other file."""
    first, last = number * ROWS, (number + 1) * ROWS - 1
    stamp = f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}"
    low = {
        "id": first,
        "sku": f"SKU-{first:012}",
        "title": "A product of the catalogue",
        "price": 0.99,
        "seen_on": stamp,
        "run_id": str(uuid.UUID(int=number)),
        "run_finished_at": f"{stamp}T06:00:00.000Z",
    }
    high = low | {"id": last, "sku": f"SKU-{last:012}", "title": "Zinc, in bars", "price": 9_999.99}
    stats = {"numRecords": ROWS, "minValues": low, "maxValues": high, "nullCount": dict.fromkeys(COLUMNS, 0)}
    return {
        "add": {
            "path": f"{uuid.UUID(int=number)}-00000.parquet",
            "partitionValues": {},
            "size": 48_000 + number % 1_000,
            "modificationTime": EPOCH_MILLIS + number,
            "dataChange": True,
            "stats": json.dumps(stats, separators=(",", ":")),
        }
    }


def make(folder, files):
    log = folder / f"files_{files}" / "_delta_log"
    log.mkdir(parents=True)
    fields = [{"name": name, "type": kind, "nullable": True, "metadata": {}} for name, kind in COLUMNS.items()]
    metadata = {
        "id": str(uuid.UUID(int=files)),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": fields}),
        "partitionColumns": [],
        "configuration": {},
        "createdTime": EPOCH_MILLIS,
    }
    commit(log, 0, [{"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}, {"metaData": metadata}])
    version = 0
    for first in range(0, files - 1, COMMIT_FILES):
        version += 1
        info = {"commitInfo": {"timestamp": EPOCH_MILLIS + version, "operation": "WRITE"}}
        commit(log, version, [info] + [add(number) for number in range(first, min(first + COMMIT_FILES, files - 1))])
    DeltaTable(str(log.parent)).create_checkpoint()
    info = {"commitInfo": {"timestamp": EPOCH_MILLIS + version + 1, "operation": "WRITE"}}
    commit(log, version + 1, [info, add(files - 1)])


def open_and_list(table):
    began = time.perf_counter()
    found = len(DeltaTable(table).file_uris())
    return time.perf_counter() - began, found


match sys.argv[1:]:
    case ["make", folder, *sizes]:
        folder, sizes = pathlib.Path(folder), [int(size) for size in sizes]
        for size in sizes:
            make(folder, size)
        checkpoint = shutil.ignore_patterns("*.checkpoint.parquet", "_last_checkpoint")
        shutil.copytree(folder / f"files_{max(sizes)}", folder / f"commits_{max(sizes)}", ignore=checkpoint)
        print("{}")
    case ["open", table, rounds]:
        seen = [open_and_list(table) for _ in range(int(rounds))]
        print(json.dumps({"seconds": [seconds for seconds, _ in seen], "files": seen[0][1]}))
    case _:
        sys.exit(__doc__)
