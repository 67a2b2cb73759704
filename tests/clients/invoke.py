"""Calls a function of the stack, as a schedule does, and prints what it answered.

usage: invoke.py NAME [PAYLOAD]
  NAME is the function's logical id in the template, such as WatchConnectorsFunction.
"""

import json
import sys

import boto3


def main():
    name, payload = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "{}"
    functions = boto3.client("lambda")
    pages = functions.get_paginator("list_functions").paginate()
    found = [f["FunctionName"] for page in pages for f in page["Functions"] if name in f["FunctionName"]]
    if len(found) != 1:
        sys.exit(f"{len(found)} functions are named {name}")
    answer = functions.invoke(FunctionName=found[0], Payload=payload.encode())
    body = answer["Payload"].read().decode()
    if "FunctionError" in answer:
        sys.exit(body)
    print(json.dumps(json.loads(body)))


if __name__ == "__main__":
    main()
