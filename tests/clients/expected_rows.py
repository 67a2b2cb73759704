"""What a recipient must read of the runs in `data/`: the public fields of each row, cast by the policy's text.

usage: expected_rows.py MESSAGE_FILE RUNS_FOLDER
Prints one JSON object a row.
"""

import csv
import io
import json
import pathlib
import re
import sys

message = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
runs = pathlib.Path(sys.argv[2])
FIELDS = [f for f in message["schema"]["fields"] if not f["name"].startswith("_") and not f.get("isPrivate")]
RUN = {"run_id": message["runId"], "run_finished_at": message["finishedAt"].replace("Z", "+00:00")}


def output_rows():
    for output in message["output"]["objects"]:
        text = (runs / output["key"]).read_bytes().decode("utf-8")
        if message["output"]["format"] == "csv":
            yield from csv.DictReader(io.StringIO(text, newline=""))
        elif message["output"]["format"] == "json":
            yield from json.loads(text)
        else:
            yield from (json.loads(line) for line in text.split("\n") if line)


def column_name(key):
    return re.sub("[^A-Za-z0-9_]", "_", key)


def shaped(value, shape):
    if value is None:
        return None
    if isinstance(shape, list):
        return [shaped(inner, shape[0]) for inner in value]
    if isinstance(shape, dict):
        return {column_name(key): shaped(value.get(key), inner) for key, inner in shape.items() if key[0] != "_"}
    assert shape in ("STRING", "LINK") and isinstance(value, str), "this oracle knows the shapes of data/ only"
    return value


def cast(field, value):
    kind = field.get("dataType", "STRING")
    if value is None or (value == "" and kind not in ("STRING", "LINK")):
        return None
    if kind == "NUMBER":
        return float(value)
    if kind == "MONEY":
        return {"amount": f"{value['amount']}.000000", "currency_code": value["currencyCode"]}
    if "shape" in field:
        return shaped(value, field["shape"])
    assert kind in ("STRING", "LINK", "DATE"), f"this oracle does not know {kind}"
    return value


for row in output_rows():
    print(json.dumps({**{f["name"]: cast(f, row.get(f["name"])) for f in FIELDS}, **RUN}))
