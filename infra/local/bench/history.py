"""Writes a long history for the tables of one workflow, as deliveries and maintenance would have left it.

Commits are copies of a real one under other names; their data files do not exist, because no delivery reads a file of
another run. Every COMPACTED_COMMITS commits the files before are one file, in a commit that changes no rows. `__LATEST`
has the same history. The checkpoints are made by the deployed maintenance function.
"""

import json
import time

from stack import say

COMPACTED_COMMITS = 50
# Commits between two looks of maintenance. It looks every 10 in truth; fewer looks make the same last checkpoint.
MAINTAINED_COMMITS = 500
COMPACTED_BYTES = 200 * 1024 * 1024
PATIENCE_SECONDS = 120


def write(stack, connector, workflow, commits):
    """Makes the version table and `__LATEST` of a workflow `commits` commits old."""
    table, latest = state(stack, connector, f"TABLE#{workflow}#"), state(stack, connector, f"LATEST#{workflow}")
    if commits - 1 <= int(table["table_version"]["N"]):
        return
    name = table["table_name"]["S"]
    mirror = name.rsplit("__", 1)[0] + "__LATEST"
    begin(stack, connector, name, int(table["table_version"]["N"]), commits, mirrored=None)
    begin(stack, connector, mirror, int(latest["table_version"]["N"]), commits, mirrored=name)
    update(stack, table, {"table_version": commits - 1})
    update(stack, latest, {"table_version": commits - 1, "source_version": commits - 1})


def begin(stack, connector, table, newest, commits, mirrored):
    folder = f"connectors/{connector}/{table}/_delta_log"
    template = entry(stack, folder, newest)
    add = next(action["add"] for action in template if "add" in action)
    finished_at = next(
        action["txn"]["version"]
        for action in template
        if "txn" in action and action["txn"]["appId"].startswith(("run/", "newest-finished-at"))
    )
    small = []
    for version in range(newest + 1, commits):
        compacts = version % COMPACTED_COMMITS == 0
        actions = [action for action in template if "commitInfo" in action]
        if mirrored:
            actions += [txn(f"mirror/{mirrored}", version), txn("newest-finished-at", finished_at)]
        elif not compacts:
            actions.append(txn(f"run/past-{version}", finished_at))
        if compacts:
            for path in small:
                actions.append({"remove": removed(add, path)})
            small = []
            path, size = f"past-compacted-{version}.parquet", COMPACTED_BYTES
        else:
            path, size = f"past-{version}.parquet", add["size"]
            small.append(path)
        actions.append({"add": {**add, "path": path, "size": size, "dataChange": not compacts}})
        body = "\n".join(json.dumps(action) for action in actions) + "\n"
        stack.s3.put_object(Bucket=bucket(stack), Key=f"{folder}/{version:020}.json", Body=body.encode())
        if version % MAINTAINED_COMMITS == 0 or version == commits - 1:
            say(f"{table}: {version + 1} of {commits} commits written")
            maintain(stack, connector, table, folder, version)


def txn(application, version):
    return {"txn": {"appId": application, "version": version, "lastUpdated": int(time.time() * 1000)}}


def removed(add, path):
    now = int(time.time() * 1000)
    return {
        "path": path,
        "deletionTimestamp": now,
        "dataChange": False,
        "extendedFileMetadata": True,
        "partitionValues": {},
        "size": add["size"],
        "stats": add["stats"],
    }


def maintain(stack, connector, table, folder, version):
    """Asks the maintenance function to look at a table, and waits for a checkpoint within 10 commits of a version."""
    message = json.dumps({"connectorId": connector, "table": table})
    stack.sqs.send_message(QueueUrl=queue(stack), MessageBody=message)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            hint = stack.s3.get_object(Bucket=bucket(stack), Key=f"{folder}/_last_checkpoint")["Body"].read()
            if version - json.loads(hint)["version"] < 10:
                return
        except stack.s3.exceptions.NoSuchKey:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{table} has no checkpoint of version {version} after {PATIENCE_SECONDS} s")


def queue(stack):
    return stack.sqs.list_queues(QueueNamePrefix=f"{stack.described['stackName']}-MaintenanceQueue")["QueueUrls"][0]


def bucket(stack):
    return stack.outputs["TablesBucketName"]


def entry(stack, folder, version):
    body = stack.s3.get_object(Bucket=bucket(stack), Key=f"{folder}/{version:020}.json")["Body"].read()
    return [json.loads(line) for line in body.splitlines() if line]


def state(stack, connector, prefix):
    found = stack.dynamodb.query(
        TableName=stack.outputs["StateTableName"],
        KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
        ExpressionAttributeValues={":pk": {"S": f"CONNECTOR#{connector}"}, ":sk": {"S": prefix}},
    )["Items"]
    return found[0]


def update(stack, item, numbers):
    for name, value in numbers.items():
        stack.dynamodb.update_item(
            TableName=stack.outputs["StateTableName"],
            Key={"pk": item["pk"], "sk": item["sk"]},
            UpdateExpression="SET #name = :value",
            ExpressionAttributeNames={"#name": name},
            ExpressionAttributeValues={":value": {"N": str(value)}},
        )
