"""The main job on real data: a connector is set up, runs are announced, and their rows are read as a recipient does.

usage: demo.py STACK_JSON DATA_FOLDER WORK_FOLDER
Talks to the stack with the vendor's tools (AWS) and to the share with the recipient's (delta-sharing).
"""

import json
import os
import pathlib
import re
import sys
import time
import urllib.request

import boto3
import delta_sharing
import pandas

CONNECTOR = "demo"
CONTACT = "data-team@acme.test"
PATIENCE_SECONDS = 180
STATES = ["accepted", "staging", "loading", "publishing", "sharing", "proving", "promoting", "shared"]

stack = json.loads(pathlib.Path(sys.argv[1]).read_text())
data = pathlib.Path(sys.argv[2])
work = pathlib.Path(sys.argv[3])
outputs = stack["outputs"]
live = sys.stdout.isatty()


def aws(service):
    return boto3.client(
        service,
        endpoint_url=stack["awsEndpoint"],
        region_name=stack["region"],
        aws_access_key_id=stack["accessKeyId"],
        aws_secret_access_key=stack["secretAccessKey"],
    )


def say(text=""):
    print(text, flush=True)


def set_up():
    states = aws("stepfunctions")
    started = states.start_execution(
        stateMachineArn=outputs["SetupConnectorArn"],
        input=json.dumps(
            {
                "connectorId": CONNECTOR,
                "teamId": "team-acme",
                "recipient": {"type": "token", "secureContact": CONTACT},
                "workflows": "all",
            }
        ),
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        execution = states.describe_execution(executionArn=started["executionArn"])
        if execution["status"] != "RUNNING":
            break
        time.sleep(0.2)
    if execution["status"] != "SUCCEEDED":
        sys.exit(f"the connector could not be set up: {execution.get('cause', execution['status'])}")


def activate():
    """Presses the button behind the link in the e-mail, as the secure contact would."""
    with urllib.request.urlopen(stack["mailbox"], timeout=30) as answer:
        mailbox = answer.read().decode()
    links = re.findall(r"https?://[^\s\"\\<>]+/activate/[^\s\"\\<>]+", mailbox)
    if not links:
        sys.exit(f"no activation link was e-mailed to {CONTACT}; see {stack['mailbox']}")
    profile = work / "config.share"
    with urllib.request.urlopen(urllib.request.Request(links[-1], method="POST"), timeout=30) as answer:
        profile.write_bytes(answer.read())
    profile.chmod(0o600)
    return profile


def announce():
    s3, sqs = aws("s3"), aws("sqs")
    runs = []
    for event in sorted((data / "events").glob("*.json")):
        message = json.loads(event.read_text())
        for output in message["output"]["objects"]:
            path = data / "runs" / output["key"]
            s3.upload_file(str(path), outputs["RunOutputBucketName"], output["key"])
        runs.append(message)
    # In the order in which the runs finished, each when the one before it of its workflow is through: so the
    # schema versions come out as they would over days.
    return sorted(runs, key=lambda run: run["finishedAt"]), sqs


def board(runs, states, drawn):
    lines = []
    for run in runs:
        state = states.get(run["runId"], "announced")
        place = STATES.index(state) + 1 if state in STATES else 0
        bar = "█" * place + "·" * (len(STATES) - place)
        lines.append(f"  {run['workflowName']:<12} {run['finishedAt'][:10]}  {bar}  {state}")
    if live:
        if drawn:
            print(f"\x1b[{len(lines)}A", end="")
        for line in lines:
            print(f"\x1b[2K{line}")
    sys.stdout.flush()


def deliver(runs, sqs):
    dynamodb = aws("dynamodb")
    states, sent, drawn = {}, set(), False
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for run in runs:
            earlier = [r for r in runs[: runs.index(run)] if r["workflowId"] == run["workflowId"]]
            if run["runId"] not in sent and all(states.get(r["runId"]) == "shared" for r in earlier):
                sqs.send_message(QueueUrl=outputs["RunCompletedQueueUrl"], MessageBody=json.dumps(run))
                sent.add(run["runId"])
        items = dynamodb.query(
            TableName=outputs["StateTableName"],
            ConsistentRead=True,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
            ExpressionAttributeValues={":pk": {"S": f"CONNECTOR#{CONNECTOR}"}, ":sk": {"S": "DELIVERY#"}},
        )["Items"]
        for item in items:
            run_id, state = item["run_id"]["S"], item["state"]["S"]
            if states.get(run_id) != state and not live:
                name = next(run["workflowName"] for run in runs if run["runId"] == run_id)
                say(f"  {name} {run_id[:8]}: {state}")
            states[run_id] = state
            if state == "failed":
                sys.exit(f"a delivery failed: {item['code']['S']}: {item['message']['S']}")
        board(runs, states, drawn)
        drawn = True
        if len(states) == len(runs) and set(states.values()) == {"shared"}:
            return
        time.sleep(0.1)
    sys.exit(f"not delivered after {PATIENCE_SECONDS} s: {states}")


def label(workflow_id):
    return re.sub("[^A-Z0-9]", "_", workflow_id.upper())


def read(profile, runs):
    """Reads every table with the official client and holds its row count against the announced ones."""
    expected, shown = {}, {}
    fingerprints = {}
    for run in runs:
        fields = [f["name"] for f in run["schema"]["fields"] if f["name"][0] != "_" and not f.get("isPrivate")]
        known = fingerprints.setdefault(run["workflowId"], [])
        if fields not in known:
            known.append(fields)
        table = f"WF_{label(run['workflowId'])}__V{known.index(fields) + 1}"
        expected[table] = expected.get(table, 0) + run["output"]["rowCount"]
        shown[table] = run["workflowName"]
        latest = f"WF_{label(run['workflowId'])}__LATEST"
        expected[latest] = expected[table]
        shown[latest] = run["workflowName"]
    tables = {table.name: table for table in delta_sharing.SharingClient(str(profile)).list_all_tables()}
    pandas.set_option("display.max_colwidth", 28)
    good = True
    for name in sorted(expected):
        table = tables[name]
        url = f"{profile}#{table.share}.{table.schema}.{table.name}"
        frame = delta_sharing.load_as_pandas(url)
        right = len(frame) == expected[name]
        good = good and right
        private = [column for column in frame.columns if column.startswith("_") or column == "internal_margin_note"]
        good = good and not private
        say(f"\n{shown[name]}: {table.share}.{table.schema}.{name}")
        say(f"  {len(frame):,} rows, {expected[name]:,} expected {'✓' if right else '✗'}   private columns: {len(private)}")
        columns = [*frame.columns[:4], "run_id", "run_finished_at"]
        head = frame[columns].head(3).to_string(index=False, max_colwidth=28)
        say("\n".join("  " + line for line in head.splitlines()))
        say(f"  … and {len(frame.columns) - len(columns)} more columns")
    if not good:
        sys.exit("what was read is not what was announced")
    return f"{profile}#{table.share}.{table.schema}.{name}"


def history(profile, runs):
    """Shows the table that tells of the deliveries; it is written in batches, so it may come some seconds later."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        frame = delta_sharing.load_as_pandas(f"{profile}#{CONNECTOR}.data.WORKFLOW_RUNS")
        if len(frame) == len(runs):
            break
        time.sleep(0.5)
    else:
        sys.exit(f"WORKFLOW_RUNS has {len(frame)} rows, and {len(runs)} runs were delivered")
    names = {run["workflowId"]: run["workflowName"] for run in runs}
    frame["workflow"] = frame["workflow_id"].map(names)
    shown = frame.sort_values(["workflow", "finished_at"])
    columns = ["workflow", "schema_version", "table_version", "rows", "rejected_rows", "finished_at"]
    say(f"\nWhat was delivered: {CONNECTOR}.data.WORKFLOW_RUNS")
    say("\n".join("  " + line for line in shown[columns].to_string(index=False).splitlines()))


def main():
    began = time.monotonic()
    say(f"\nSetting up connector `{CONNECTOR}` for a token recipient …")
    set_up()
    profile = activate()
    say(f"  the activation link was e-mailed, its button pressed, the profile saved as {profile}")
    runs, sqs = announce()
    say(f"\nDelivering {len(runs)} real runs, as {', '.join(sorted({run['output']['format'] for run in runs}))} …")
    deliver(runs, sqs)
    say("\nWhat the recipient reads, with the official delta-sharing client:")
    url = read(profile, runs)
    history(profile, runs)
    say(f"\nFrom set-up to rows in {time.monotonic() - began:.1f} s.")
    (work / "table-url").write_text(url)


main()
sys.stdout.flush()
# The clients' threads may still run when the interpreter takes itself apart, and then it aborts.
os._exit(0)
