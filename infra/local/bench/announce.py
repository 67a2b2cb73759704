"""Puts generated rows into a local stack's run-output bucket and has the run recorded.

usage: announce.py STACK_JSON FILE ROWS

No connector takes the run, so nothing is started. Prints the input of the staging function.
"""

import json
import sys
import time

from stack import PATIENCE_SECONDS, Stack, say

SELLER = {"name": "STRING", "city": "STRING", "rating": "NUMBER", "verified": "BOOLEAN"}
FIELDS = [
    {"name": "id", "dataType": "NUMBER", "isKey": True},
    {"name": "title", "dataType": "STRING"},
    {"name": "description", "dataType": "STRING"},
    {"name": "price", "dataType": "NUMBER"},
    {"name": "currency", "dataType": "STRING"},
    {"name": "url", "dataType": "LINK"},
    {"name": "image_url", "dataType": "IMAGE"},
    {"name": "in_stock", "dataType": "BOOLEAN"},
    {"name": "category", "dataType": "STRING"},
    {"name": "review_count", "dataType": "NUMBER"},
    {"name": "listed_on", "dataType": "DATE"},
    {"name": "scraped_at", "dataType": "DATETIME"},
    {"name": "seller", "dataType": "OBJECT", "shape": SELLER},
    {"name": "tags", "dataType": "ARRAY", "shape": ["STRING"]},
    {"name": "_confidence", "dataType": "NUMBER"},
    {"name": "_source", "dataType": "STRING"},
]


def main(path, file, rows):
    stack = Stack(path)
    run = {"teamId": "bench-staging", "workflowId": "bench-rows", "runId": f"rows-{rows}"}
    key = f"kadoa/{run['teamId']}/{run['workflowId']}/{run['runId']}/data.jsonl"
    say("uploading")
    stack.s3.upload_file(file, stack.outputs["RunOutputBucketName"], key)
    say("announcing")
    stack.announce(run, FIELDS, key, int(rows))
    record = {
        "pk": {"S": f"RUNS#{run['teamId']}#{run['workflowId']}"},
        "sk": {"S": f"RUN#{run['runId']}"},
    }
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if "Item" in stack.dynamodb.get_item(TableName=stack.outputs["StateTableName"], Key=record):
            say(json.dumps({**run, "connectors": []}))
            return
        time.sleep(0.1)
    sys.exit(f"the run was not recorded within {PATIENCE_SECONDS} s; see emulator.log")


main(*sys.argv[1:])
