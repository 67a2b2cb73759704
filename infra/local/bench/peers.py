"""Turns generated JSON lines into a committed Delta table, the way each peer is meant to be used.

usage: peers.py duckdb|polars|pyarrow FILE FOLDER   one peer; prints the seconds after everything is loaded
       peers.py digest FOLDER                       prints rows, bytes and a digest of each column of a table
       peers.py versions                            prints what the peers are

Every peer drops the two private fields, casts to the types that the product casts to (its numbers are doubles) and
compresses with zstd, level 1.
"""

import importlib
import importlib.metadata
import json
import pathlib
import sys
import time

# Name, and how each peer writes the type.
TYPES = {
    "id": "double",
    "title": "text",
    "description": "text",
    "price": "double",
    "currency": "text",
    "url": "text",
    "image_url": "text",
    "in_stock": "boolean",
    "category": "text",
    "review_count": "double",
    "listed_on": "date",
    "scraped_at": "time",
    "seller": {"name": "text", "city": "text", "rating": "double", "verified": "boolean"},
    "tags": ["text"],
}


def duckdb_type(of):
    if isinstance(of, dict):
        return f"STRUCT({', '.join(f'{name} {duckdb_type(inner)}' for name, inner in of.items())})"
    if isinstance(of, list):
        return duckdb_type(of[0]) + "[]"
    return {"text": "VARCHAR", "time": "TIMESTAMPTZ"}.get(of, of.upper())


def with_duckdb(source, folder):
    import duckdb
    from deltalake import convert_to_deltalake

    columns = ", ".join(f"{name}: '{duckdb_type(of)}'" for name, of in TYPES.items())
    connection = duckdb.connect()
    connection.execute("set preserve_insertion_order = false")
    connection.execute(
        f"copy (select * from read_json('{source}', format = 'newline_delimited', columns = {{{columns}}})) "
        f"to '{folder}/part.parquet' (format parquet, compression zstd, compression_level 1)"
    )
    convert_to_deltalake(folder)


def zstd():
    from deltalake import WriterProperties

    return WriterProperties(compression="ZSTD", compression_level=1)


def with_polars(source, folder):
    import polars

    def read_as(of):
        if isinstance(of, dict):
            return polars.Struct({name: read_as(inner) for name, inner in of.items()})
        if isinstance(of, list):
            return polars.List(read_as(of[0]))
        # Dates and times are text in JSON, and cast below.
        return {"boolean": polars.Boolean, "double": polars.Float64}.get(of, polars.String)

    schema = {name: read_as(of) for name, of in TYPES.items()}
    rows = polars.scan_ndjson(source, schema=schema).with_columns(
        polars.col("listed_on").str.to_date("%Y-%m-%d"),
        polars.col("scraped_at").str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ", time_unit="us", time_zone="UTC"),
    )
    rows.sink_delta(folder, delta_write_options={"writer_properties": zstd()})


def with_pyarrow(source, folder):
    import pyarrow
    from deltalake import write_deltalake
    from pyarrow import compute
    from pyarrow import json as reader

    def read_as(of):
        if isinstance(of, dict):
            return pyarrow.struct([(name, read_as(inner)) for name, inner in of.items()])
        if isinstance(of, list):
            return pyarrow.list_(read_as(of[0]))
        return {"boolean": pyarrow.bool_(), "double": pyarrow.float64()}.get(of, pyarrow.string())

    schema = pyarrow.schema([(name, read_as(of)) for name, of in TYPES.items()])
    table = reader.read_json(
        source,
        read_options=reader.ReadOptions(block_size=16 << 20),
        parse_options=reader.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )

    def replace(name, values):
        index = table.schema.get_field_index(name)
        return table.set_column(index, name, values)

    table = replace("listed_on", table["listed_on"].cast(pyarrow.date32()))
    local = compute.utf8_slice_codeunits(table["scraped_at"], 0, 23).cast(pyarrow.timestamp("us"))
    table = replace("scraped_at", compute.assume_timezone(local, "UTC"))
    write_deltalake(folder, table, writer_properties=zstd())


# What each does, and what it loads for that.
PEERS = {
    "duckdb": (with_duckdb, ["duckdb", "deltalake"]),
    "polars": (with_polars, ["polars", "deltalake"]),
    "pyarrow": (with_pyarrow, ["pyarrow.compute", "pyarrow.json", "deltalake"]),
}


def digest(folder):
    """The same digests for the same rows, in whatever order and number of files they lie."""
    import duckdb

    files = list(pathlib.Path(folder).rglob("*.parquet"))
    sums = ", ".join(f"sum(hash({name})::hugeint)::varchar" for name in TYPES)
    names = [str(file) for file in files]
    rows, *columns = duckdb.execute(f"select count(*), {sums} from read_parquet(?)", [names]).fetchone()
    size = sum(file.stat().st_size for file in files)
    return {"rows": rows, "bytes": size, "columns": dict(zip(TYPES, columns))}


def versions():
    return {name: importlib.metadata.version(name) for name in ("duckdb", "polars", "pyarrow", "deltalake")}


def main(what, *arguments):
    if what == "versions":
        answer = versions()
    elif what == "digest":
        answer = digest(*arguments)
    else:
        source, folder = arguments
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        work, modules = PEERS[what]
        for module in modules:
            importlib.import_module(module)
        began = time.perf_counter()
        work(source, folder)
        answer = {"seconds": time.perf_counter() - began}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
