"""Opens tables in storage with packages that know nothing of us, and says where they disagree.

usage: open_every_table.py BUCKET|TABLE_URI...
A bucket stands for the tables in it, except for those of the conformance suite, which are made to be hard to read. Of
tables with the same name the ones with the longest logs are opened: there is one of each metadata table for every
connector. Each is copied to this machine and opened as `open_tables.py` does: deltalake,
DuckDB and Polars must agree on rows, columns and types, and each file's statistics with the values in it. Prints a line
for each disagreement, then how many tables were opened. Endpoint and credentials come from the environment.
"""

import collections
import concurrent.futures
import os
import pathlib
import sys
import tempfile

import boto3
import pyarrow
from botocore.config import Config
from deltalake import DeltaTable
from open_tables import CLIENTS, digest, judge_files

WORKERS = 4
SAME_NAME_MAX = 12
storage = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], config=Config(max_pool_connections=WORKERS))


def keys(bucket, prefix):
    for page in storage.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from (found["Key"] for found in page.get("Contents", []))


def tables_of(bucket):
    """The folders that have a log."""
    logs = collections.Counter(
        key.split("/_delta_log/")[0]
        for key in keys(bucket, "connectors/")
        if "/_delta_log/" in key and not key.startswith("connectors/conform-")
    )
    opened = collections.Counter()
    for path, _ in logs.most_common():
        name = path.rpartition("/")[2]
        opened[name] += 1
        if opened[name] <= SAME_NAME_MAX:
            yield f"s3://{bucket}/{path}"


def copy(uri, folder):
    bucket, _, path = uri.removeprefix("s3://").partition("/")
    for key in keys(bucket, f"{path}/"):
        target = pathlib.Path(folder) / key[len(path) + 1 :]
        target.parent.mkdir(parents=True, exist_ok=True)
        storage.download_file(bucket, key, str(target))


def kind(column_type):
    """A type, without the differences between what packages use for the same values."""
    if pyarrow.types.is_struct(column_type):
        return {field.name: kind(field.type) for field in column_type}
    if pyarrow.types.is_list(column_type) or pyarrow.types.is_large_list(column_type):
        return [kind(column_type.value_type)]
    if pyarrow.types.is_timestamp(column_type):
        return f"timestamp[{column_type.unit}] {'UTC' if column_type.tz else 'without zone'}"
    return str(column_type).removeprefix("large_").replace("string_view", "string")


def check(uri):
    with tempfile.TemporaryDirectory() as folder:
        copy(uri, folder)
        seen = {}
        # DuckDB is given the files that the log names, and wants one.
        empty = not DeltaTable(folder).file_uris()
        for name, read in CLIENTS.items():
            if empty and name == "duckdb":
                continue
            table = read(folder, {}, None)
            columns = [(field.name, str(kind(field.type))) for field in table.schema]
            seen[name] = {"rows": table.num_rows, "digest": digest(table), "columns": columns}
        first, *others = seen
        for other in others:
            for what, value in seen[other].items():
                if value != seen[first][what]:
                    yield f"{uri}: {what} by {other}: {value}, by {first}: {seen[first][what]}"
        for path, wrong in judge_files(folder, {}, None)["wrong"].items():
            yield f"{uri}: statistics of {path}: {wrong}"
        if DeltaTable(folder).protocol().min_reader_version != 1:
            yield f"{uri}: not every open client can read it"


def checked(uri):
    try:
        return list(check(uri))
    except Exception as error:  # noqa: BLE001: whatever a client fails with is its verdict
        return [f"{uri}: {type(error).__name__}: {error}"[:500]]


uris = [uri for name in sys.argv[1:] for uri in ([name] if name.startswith("s3://") else tables_of(name))]
with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
    for problems in pool.map(checked, uris):
        for problem in problems:
            print(problem)
print(f"{len(uris)} tables")
sys.stdout.flush()
# The packages' threads may still run when the interpreter takes itself apart, and then it aborts.
os._exit(0)
