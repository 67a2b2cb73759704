"""Reads shared tables as a recipient does, with the official delta-sharing client, and prints what it got as JSON.

usage: read_table.py PROFILE COMMAND [ARGUMENTS]
  tables                          names of all tables, as share.schema.table
  rows    TABLE [FORMAT]          one JSON object a row; FORMAT is parquet or delta
  version TABLE                   the table version
  schema  TABLE                   the schema text and the configuration
"""

import datetime
import decimal
import json
import math
import os
import sys

import delta_sharing
import numpy
import pandas


def plain(value):
    """A value in JSON's types: times in ISO form, decimals as text, missing values as null."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, numpy.ndarray)):
        return [plain(inner) for inner in value]
    if value is None or value is pandas.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, numpy.generic):
        return plain(value.item())
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, pandas.Timestamp):
        return value.isoformat()
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    return value


def main():
    profile, command, *arguments = sys.argv[1:]
    if command == "tables":
        for table in delta_sharing.SharingClient(profile).list_all_tables():
            print(f"{table.share}.{table.schema}.{table.name}")
        return
    url = f"{profile}#{arguments[0]}"
    if command == "rows":
        delta = {"parquet": False, "delta": True}.get(arguments[1]) if len(arguments) > 1 else None
        frame = delta_sharing.load_as_pandas(url, use_delta_format=delta)
        print(json.dumps({"columns": list(frame.columns)}))
        for row in frame.to_dict(orient="records"):
            print(json.dumps({name: plain(value) for name, value in row.items()}))
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
