"""Looks for secrets in everything that a stack leaves behind: log lines, execution histories, table items.

Usage: scan_secrets.py <state table> <folder of log files> <file of known secrets, one a line>

A secret is found in two ways: as one of the known ones, and as any text of the shape of a token or a code whose SHA-256
the state table holds as the hash of a token or of an activation, so that also secrets that nobody knows are found. Links
that open something without a token (presigned URLs, activation links, the workspace's too) count by their shape.

Prints one JSON line for each finding, `{"place", "what", "secret"}`, the secret being the first 12 digits of its hash;
then one line that says how much was read.
"""

import hashlib
import json
import os
import re
import sys

import boto3

# A token or a code: 256 bits in URL-safe base64.
SHAPE = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
LINKS = {
    "presigned URL": re.compile(r"X-Amz-Signature=[0-9a-f]{64}"),
    "activation link": re.compile(r"/activate/[A-Za-z0-9_-]{43}"),
    "activation link of a workspace": re.compile(r"retrieve_config\.html\?[A-Za-z0-9-]+"),
}


class Scan:
    """Texts come in, findings go out."""

    def __init__(self, known, hashes):
        self.known, self.hashes = known, hashes
        self.places, self.bytes = {}, 0
        self.found = set()

    def read(self, place, text):
        """Looks through one text. A place is a kind and what the text belongs to, apart by a space."""
        kind = place.split(" ")[0]
        self.places[kind] = self.places.get(kind, 0) + 1
        self.bytes += len(text)
        for secret in self.known:
            if secret in text:
                self.note(place, "known secret", secret)
        for match in SHAPE.findall(text):
            if hashlib.sha256(match.encode()).hexdigest() in self.hashes:
                self.note(place, "secret of a stored hash", match)
        for what, pattern in LINKS.items():
            for match in pattern.findall(text):
                self.note(place, what, match)

    def note(self, place, what, secret):
        digest = hashlib.sha256(secret.encode()).hexdigest()[:12]
        if (place, what, digest) not in self.found:
            self.found.add((place, what, digest))
            print(json.dumps({"place": place, "what": what, "secret": digest}))


def items(table):
    """Every item of a table."""
    client, start = boto3.client("dynamodb"), {}
    while True:
        page = client.scan(TableName=table, ConsistentRead=True, **start)
        yield from page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def pages(client, operation, key, **arguments):
    """Every element of a paged answer."""
    for page in client.get_paginator(operation).paginate(**arguments):
        yield from page[key]


def executions(scan):
    """Inputs, outputs and every event of every execution."""
    client = boto3.client("stepfunctions")
    for machine in pages(client, "list_state_machines", "stateMachines"):
        arn = machine["stateMachineArn"]
        for execution in pages(client, "list_executions", "executions", stateMachineArn=arn):
            place = f"execution {machine['name']}/{execution['name']}"
            described = client.describe_execution(executionArn=execution["executionArn"])
            scan.read(place, json.dumps(described, default=str))
            for event in pages(client, "get_execution_history", "events", executionArn=execution["executionArn"]):
                scan.read(place, json.dumps(event, default=str))


def logs(scan, folder):
    """Every line of every log: of the functions and of what runs them."""
    client = boto3.client("logs")
    for group in pages(client, "describe_log_groups", "logGroups"):
        name = group["logGroupName"]
        for stream in pages(client, "describe_log_streams", "logStreams", logGroupName=name):
            start = {}
            while True:
                page = client.get_log_events(
                    logGroupName=name, logStreamName=stream["logStreamName"], startFromHead=True, **start
                )
                for event in page["events"]:
                    scan.read(f"log {name}", event["message"])
                if not page["events"] or page["nextForwardToken"] == start.get("nextToken"):
                    break
                start = {"nextToken": page["nextForwardToken"]}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.endswith(".log"):
            with open(entry.path, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    scan.read(f"log {entry.name}", line)


def main():
    table, folder, known = sys.argv[1:]
    with open(known, encoding="utf-8") as lines:
        known = {line.strip() for line in lines if line.strip()}
    everything = list(items(table))
    hashes = set()
    for item in everything:
        for name in ("pk", "sk"):
            kind, _, rest = item[name]["S"].partition("#")
            if kind in ("TOKEN", "ACTIVATION") and rest:
                hashes.add(rest)
    scan = Scan(known, hashes)
    for item in everything:
        scan.read(f"item {item['pk']['S']} {item['sk']['S']}", json.dumps(item, default=str))
    executions(scan)
    logs(scan, folder)
    print(json.dumps({"read": scan.places, "bytes": scan.bytes, "hashes": len(hashes), "known": len(known)}))


main()
