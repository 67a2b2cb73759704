"""Opens a table with deltalake, DuckDB and Polars, which know nothing of us, and judges what it says of itself.

usage: open_tables.py TABLE [--storage-options JSON] [--only deltalake,duckdb,polars] [--version N] [--skip-files]

TABLE is a local folder or an s3:// URI. Prints one JSON document:
  clients   per client: rows, columns with types, and a digest of the rows whatever their order
  agree     whether the clients' rows are the same
  files     per-file statistics of the log that the Parquet values contradict (deltalake only)
Ends with 1 if something does not agree.
"""

import argparse
import decimal
import hashlib
import json
import math
import os
import sys
import time

import pyarrow
import pyarrow.compute as compute
import pyarrow.parquet as parquet


def plain(value):
    """A value as every client means it: the differences of their types taken out."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else repr(value + 0.0)
    if isinstance(value, decimal.Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if hasattr(value, "astimezone"):
        return value.timestamp().hex() if value.tzinfo else value.isoformat()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value


def digest(table):
    """The multiset of rows: the sum of their hashes."""
    names = sorted(table.column_names)
    total = 0
    for batch in table.select(names).to_batches(max_chunksize=4096):
        for row in zip(*(column.to_pylist() for column in batch.columns)):
            text = json.dumps([plain(value) for value in row], sort_keys=True, ensure_ascii=False, default=str)
            total += int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
    return format(total % (1 << 128), "032x")


def arrow(table):
    """A client's answer as an Arrow table, whatever it is."""
    return table if isinstance(table, pyarrow.Table) else pyarrow.table(table)


def read_deltalake(uri, options, version):
    from deltalake import DeltaTable

    table = DeltaTable(uri, storage_options=options, version=version)
    return arrow(table.to_pyarrow_table())


def read_duckdb(uri, options, version):
    """Through DuckDB's delta extension if it is installed here; else the Parquet files that the log names."""
    import duckdb
    from deltalake import DeltaTable

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET autoinstall_known_extensions = false")
    chosen = "" if version is None else f", version => {version}"
    scan = f"delta_scan('{uri}'{chosen})"
    try:
        connection.execute("LOAD delta")
    except duckdb.Error:
        if uri.startswith("s3://"):
            raise
        names = DeltaTable(uri, version=version).file_uris()
        scan = "read_parquet([" + ", ".join(f"'{name}'" for name in names) + "])"
    if uri.startswith("s3://"):
        endpoint = options.get("AWS_ENDPOINT_URL", "")
        parts = {
            "TYPE": "s3",
            "KEY_ID": options.get("AWS_ACCESS_KEY_ID"),
            "SECRET": options.get("AWS_SECRET_ACCESS_KEY"),
            "SESSION_TOKEN": options.get("AWS_SESSION_TOKEN"),
            "REGION": options.get("AWS_REGION"),
            "ENDPOINT": endpoint.split("://")[-1] or None,
            "URL_STYLE": "path" if endpoint else None,
            "USE_SSL": "false" if endpoint.startswith("http://") else None,
        }
        secret = ", ".join(f"{name} '{value}'" for name, value in parts.items() if value is not None)
        connection.execute(f"CREATE SECRET tables ({secret})")
    return arrow(connection.sql(f"SELECT * FROM {scan}").to_arrow_table())


def read_polars(uri, options, version):
    import polars

    return arrow(polars.scan_delta(uri, version=version, storage_options=options or None).collect().to_arrow())


CLIENTS = {"deltalake": read_deltalake, "duckdb": read_duckdb, "polars": read_polars}


def leaves(column, path, found):
    """The leaf columns of a Parquet file by their path in the statistics."""
    if pyarrow.types.is_struct(column.type):
        for index, field in enumerate(column.type):
            leaves(compute.struct_field(column, [index]), path + [field.name], found)
    else:
        found[".".join(path)] = column


def stated(tree, path):
    for name in path.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def bound_of(column, text):
    """A bound of the log as a value of the column's type."""
    if pyarrow.types.is_timestamp(column.type):
        instant = pyarrow.scalar(text.replace("Z", ""), pyarrow.string()).cast(pyarrow.timestamp(column.type.unit))
        return pyarrow.scalar(instant.as_py(), pyarrow.timestamp(column.type.unit, column.type.tz))
    if pyarrow.types.is_date(column.type):
        return pyarrow.scalar(text, pyarrow.string()).cast(column.type)
    if pyarrow.types.is_decimal(column.type):
        return pyarrow.scalar(decimal.Decimal(str(text)), column.type)
    return pyarrow.scalar(text, column.type)


def contradictions(path, statistics):
    """What the statistics say of a file that its values contradict."""
    table = parquet.read_table(path)
    wrong = []
    if statistics.get("numRecords") != table.num_rows:
        wrong.append("numRecords")
    found = {}
    for name in table.column_names:
        leaves(table.column(name).combine_chunks(), [name], found)
    for name, column in found.items():
        nulls = stated(statistics.get("nullCount", {}), name)
        if nulls is not None and nulls != column.null_count:
            wrong.append(f"nullCount of {name}: {nulls}, not {column.null_count}")
        if pyarrow.types.is_nested(column.type) or pyarrow.types.is_boolean(column.type):
            continue
        low, high = stated(statistics.get("minValues", {}), name), stated(statistics.get("maxValues", {}), name)
        if low is not None and compute.any(compute.less(column, bound_of(column, low))).as_py():
            wrong.append(f"minValues of {name}")
        # Times have milliseconds in the log: a bound above may be the next one.
        if high is not None and compute.any(compute.greater(column, bound_of(column, high))).as_py():
            wrong.append(f"maxValues of {name}")
    return wrong


def judge_files(uri, options, version):
    from deltalake import DeltaTable

    table = DeltaTable(uri, storage_options=options, version=version)
    folder = uri.removeprefix("file://")
    actions = pyarrow.table(table.get_add_actions(flatten=False)).to_pylist()
    report = {"count": len(actions), "wrong": {}}
    for action in actions:
        nested = {
            "numRecords": action["num_records"],
            "nullCount": action.get("null_count") or {},
            "minValues": action.get("min") or {},
            "maxValues": action.get("max") or {},
        }
        if uri.startswith("s3://"):
            source = pyarrow.BufferReader(download(uri, action["path"], options))
        else:
            source = os.path.join(folder, action["path"])
            if os.path.getsize(source) != action["size_bytes"]:
                report["wrong"][action["path"]] = ["size"]
                continue
        wrong = contradictions(source, texts(nested))
        if wrong:
            report["wrong"][action["path"]] = wrong
    return report


def texts(tree):
    """deltalake gives bounds as Python values; here they are compared as such."""
    if isinstance(tree, dict):
        return {name: texts(inner) for name, inner in tree.items() if inner is not None}
    if hasattr(tree, "isoformat"):
        text = tree.isoformat()
        return text.removesuffix("+00:00")
    return tree


def download(uri, path, options):
    from deltalake.fs import DeltaStorageHandler

    handler = DeltaStorageHandler(uri, options)
    with handler.open_input_file(path) as file:
        return file.read()


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("table")
    arguments.add_argument("--storage-options", type=json.loads, default={})
    arguments.add_argument("--only", default=",".join(CLIENTS))
    arguments.add_argument("--version", type=int)
    arguments.add_argument("--skip-files", action="store_true")
    asked = arguments.parse_args()
    clients = {}
    for name in asked.only.split(","):
        began = time.monotonic()
        try:
            table = CLIENTS[name](asked.table, asked.storage_options, asked.version)
            seconds = time.monotonic() - began
            columns = {field.name: str(field.type) for field in table.schema}
            clients[name] = {"rows": table.num_rows, "seconds": round(seconds, 4), "columns": columns}
            clients[name]["digest"] = digest(table)
        except Exception as error:  # noqa: BLE001: whatever a client fails with is its verdict
            clients[name] = {"error": f"{type(error).__name__}: {error}"[:500]}
    digests = {(client.get("rows"), client.get("digest")) for client in clients.values()}
    agree = len(digests) == 1 and all("error" not in client for client in clients.values())
    files = None if asked.skip_files else judge_files(asked.table, asked.storage_options, asked.version)
    print(json.dumps({"clients": clients, "agree": agree, "files": files}), flush=True)
    # The packages' threads may still run when the interpreter takes itself apart, and then it aborts.
    os._exit(0 if agree and not (files or {}).get("wrong") else 1)


if __name__ == "__main__":
    main()
