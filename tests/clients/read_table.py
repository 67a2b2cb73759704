"""Reads shared tables as a recipient does, with the official delta-sharing client, and prints what it got as JSON.

usage: read_table.py PROFILE COMMAND [ARGUMENTS]
  tables                             names of all tables, as share.schema.table
  rows    TABLE [FORMAT [VERSION]]   the columns, then one JSON object a row; FORMAT is parquet or delta
  many    TABLE...                   for each table one JSON object with its columns and rows
  version TABLE                      the table version
  schema  TABLE                      the schema text and the configuration
"""

import json
import os
import sys

import delta_sharing
from values import rows


def main():
    profile, command, *arguments = sys.argv[1:]
    if command == "tables":
        for table in delta_sharing.SharingClient(profile).list_all_tables():
            print(f"{table.share}.{table.schema}.{table.name}")
        return
    if command == "many":
        for table in arguments:
            frame = delta_sharing.load_as_pandas(f"{profile}#{table}")
            print(json.dumps({"table": table, "columns": list(frame.columns), "rows": rows(frame)}))
        return
    url = f"{profile}#{arguments[0]}"
    if command == "rows":
        delta = {"parquet": False, "delta": True}.get(arguments[1]) if len(arguments) > 1 else None
        version = int(arguments[2]) if len(arguments) > 2 else None
        frame = delta_sharing.load_as_pandas(url, use_delta_format=delta, version=version)
        print(json.dumps({"columns": list(frame.columns)}))
        for row in rows(frame):
            print(json.dumps(row))
    elif command == "version":
        print(delta_sharing.get_table_version(url))
    elif command == "schema":
        metadata = delta_sharing.get_table_metadata(url)
        print(json.dumps({"schema": json.loads(metadata.schema_string), "configuration": metadata.configuration}))
    else:
        sys.exit(f"unknown command {command}")


main()
sys.stdout.flush()
# The packages' threads may still run when the interpreter takes itself apart, and then it aborts.
os._exit(0)
