"""Looks for a text in everything that a table has in storage: log, checkpoints, Parquet files as they are and decoded.

usage: scan_table.py BUCKET PREFIX TEXT
Letter case does not count. Prints where the text was found, then how many files and values were looked at.
"""

import io
import os
import sys

import boto3
import pyarrow.parquet

bucket, prefix, text = sys.argv[1], sys.argv[2], sys.argv[3].lower()
storage = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
looked_at, values = 0, 0


def decoded(content):
    """Every value, and the footer, as text."""
    file = pyarrow.parquet.ParquetFile(io.BytesIO(content))
    yield str(file.metadata.to_dict())
    yield str(file.schema_arrow)
    for row in file.read().to_pylist():
        yield str(row)


for page in storage.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
    for found in page.get("Contents", []):
        key = found["Key"]
        content = storage.get_object(Bucket=bucket, Key=key)["Body"].read()
        looked_at += 1
        texts = [content.decode("utf-8", "replace"), content.decode("utf-16-le", "replace")]
        if key.endswith(".parquet"):
            texts += decoded(content)
        values += len(texts)
        if any(text in shown.lower() for shown in texts):
            print(f"{key} holds it")
print(f"{looked_at} files, {values} texts")
sys.stdout.flush()
# The package's threads may still run when the interpreter takes itself apart, and then it aborts.
os._exit(0)
