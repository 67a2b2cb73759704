"""Runs the examples of a page of the documentation as they are written, against the share that they name.

usage: documented_examples.py PAGE PROFILE
SQL runs in DuckDB, over the shared tables as the official client reads them, under their names in lower case. Python runs
in a folder that has the profile as `config.share`. Prints one JSON object an example.
"""

import io
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
from contextlib import redirect_stdout

import delta_sharing
import duckdb
import pyarrow

page, profile = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2]
examples = re.findall(r"^```(sql|python)\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)

database = duckdb.connect()
database.execute("set timezone = 'UTC'")
for table in delta_sharing.SharingClient(profile).list_all_tables():
    if any(table.name.lower() in text.lower() for kind, text in examples if kind == "sql"):
        frame = delta_sharing.load_as_pandas(f"{profile}#{table.share}.{table.schema}.{table.name}")
        database.register(table.name.lower(), pyarrow.Table.from_pandas(frame, preserve_index=False))

with tempfile.TemporaryDirectory() as folder:
    shutil.copy(profile, pathlib.Path(folder) / "config.share")
    os.chdir(folder)
    for kind, text in examples:
        if kind == "sql":
            for query in filter(str.strip, text.split(";")):
                rows = database.execute(query).fetchall()
                print(json.dumps({"kind": kind, "text": query.strip(), "rows": len(rows)}))
        else:
            shown = io.StringIO()
            with redirect_stdout(shown):
                exec(compile(text, "documentation", "exec"), {})
            print(json.dumps({"kind": kind, "text": text, "shown": len(shown.getvalue())}))
    os.chdir("/")

sys.stdout.flush()
# The packages' threads may still run when the interpreter takes itself apart, and then it aborts.
os._exit(0)
