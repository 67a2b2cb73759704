"""Brings the fixtures into a deployed stack of Spillway: `spillway_stack.py BUCKET STATE_TABLE ENDPOINT FIXTURES`.

Copies the tables below two connectors' paths in the tables bucket and writes what a set-up and an activation would
write: the shares, their tables, and the hashes of three tokens. A share of Spillway has one schema, and shares the past
of every table. The names of the connectors are new each time; nothing is taken away again.

`spillway_stack.py --grow BUCKET SHARE=CONNECTOR … MORE` adds files to these tables. MORE is laid out as the fixtures
are.
"""

import concurrent.futures
import datetime
import hashlib
import json
import os
import secrets
import shlex
import sys
import threading

import boto3
from botocore.config import Config

SCHEMA = "data"
LOG = "_delta_log"
UPLOADS_AT_ONCE = 16
LOCAL = threading.local()


def upload(bucket, path, key):
    """One file; each thread has a client of its own."""
    if not hasattr(LOCAL, "s3"):
        LOCAL.s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))
    with open(path, "rb") as file:
        LOCAL.s3.put_object(Bucket=bucket, Key=key, Body=file.read())


def files(folder):
    """Every file of a folder, by its path in it."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            yield path, os.path.relpath(path, folder)


def key(connector, table, relative):
    """Where a file of a table is in the bucket."""
    return f"connectors/{connector}/{table}/{relative}"


def grow(bucket, *arguments):
    """Puts the files of tables, and then their commits."""
    *pairs, more = arguments
    connectors = dict(pair.split("=", 1) for pair in pairs)
    found = [(path, relative.split(os.sep, 3)) for path, relative in files(more)]
    for path, (share, _, table, rest) in sorted(found, key=lambda file: (file[1][3].startswith(LOG), file)):
        upload(bucket, path, key(connectors[share], table, rest))


def main(bucket, state_table, endpoint, fixtures):
    with open(os.path.join(fixtures, "manifest.json"), encoding="utf-8") as file:
        manifest = json.load(file)
    state = boto3.resource("dynamodb").Table(state_table)
    connectors = {share: f"conform-{share}-{secrets.token_hex(4)}" for share in ("alpha", "beta")}
    pairs = ["=".join(pair) for pair in connectors.items()]
    document = {
        "endpoint": endpoint,
        "notLoaded": ["hollow", "alpha.bare"],
        "names": dict(connectors),
        # Every query is answered at once. The stack gives credentials for folders to nobody unless told to.
        "without": ["async", "directory"],
        "grow": shlex.join([sys.executable, os.path.abspath(__file__), "--grow", bucket, *pairs]),
    }
    for share, connector in connectors.items():
        state.put_item(Item={"pk": f"SHARE#{connector}", "sk": "SHARE", "connector_id": connector})
    with concurrent.futures.ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
        uploads = []
        for table in manifest["tables"]:
            share, schema, name = table["share"], table["schema"], table["name"]
            document["names"][f"{share}.{schema}"] = f"{connectors[share]}.{SCHEMA}"
            if not table["history"] or not name.isascii():
                document["notLoaded"].append(f"{share}.{schema}.{name}")
                continue
            connector = connectors[share]
            for path, relative in files(os.path.join(fixtures, share, schema, name)):
                uploads.append(pool.submit(upload, bucket, path, key(connector, name, relative)))
            item = {"pk": f"SHARE#{connector}", "sk": f"TABLE#{name.upper()}", "table_name": name}
            state.put_item(Item=item)
        for done in uploads:
            done.result()
    now = datetime.datetime.now(datetime.timezone.utc)
    for field, share, days in [("token", "alpha", 1), ("otherToken", "beta", 1), ("expiredToken", "alpha", -1)]:
        token, ends = secrets.token_urlsafe(32), now + datetime.timedelta(days=days)
        document[field] = token
        state.put_item(
            Item={
                "pk": f"TOKEN#{hashlib.sha256(token.encode()).hexdigest()}",
                "sk": "TOKEN",
                "connector_id": connectors[share],
                "holder": "recipient",
                "expires_at": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "allowed_ips": [],
                "rotation": 0,
                "expires_at_seconds": int(now.timestamp()) + 7 * 86_400,
            }
        )
    print(json.dumps(document))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--grow"]:
        grow(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
