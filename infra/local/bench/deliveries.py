"""Counts what deliveries of small runs ask of AWS, by function and operation, as the tables grow older.

usage: deliveries.py STACK_JSON DELIVERIES AGE[,AGE…] CONNECTORS

One team has one connector, another one CONNECTORS. A table's age is the number of its commits before the first
counted delivery: real ones up to REAL_COMMITS_MAX, then a written history of the same form, with a compaction now and
then and the checkpoints that maintenance makes of it. The team with many connectors is counted at the first age only:
staging does not know a table's age.
Deliveries that are counted run one after the other: most through warm functions, a few (`cold`) with every function
started anew, as after a quiet hour. The others make the tables older.
"""

import collections
import json
import re
import sys
import urllib.request
import uuid

import history
from stack import Stack, say

WORKFLOW = "bench-prices"

FIELDS = [
    {"name": "product", "dataType": "STRING", "isKey": True},
    {"name": "price", "dataType": "NUMBER"},
    {"name": "seen_at", "dataType": "DATETIME"},
    {"name": "_page", "dataType": "LINK"},
]
ROWS = 20
REAL_COMMITS_MAX = 100
# Deliveries at once while a table is made older, and the last of them one by one: so each function has a process that
# has seen the tables as they are.
TOGETHER = 5
WARMING = 3
COLD_DELIVERIES = 3
# What follows a delivery later, for many deliveries together: shown by operation, and not in a delivery's sum.
BESIDE = {"maintain-tables", "publish-metadata"}
SERVICES = {"s3": "S3", "dynamodb": "DynamoDB", "states": "Step Functions", "sqs": "SQS"}


def request(method, address, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(address, data, method=method), timeout=60) as answer:
        return answer.read()


class Team:
    """A team, its connectors, and its runs so far."""

    def __init__(self, stack, name, connectors):
        self.stack, self.name, self.connectors = stack, name, connectors
        self.runs = self.commits = 0

    def set_up(self):
        arn = self.stack.outputs["SetupConnectorArn"]
        names = []
        for index in range(self.connectors):
            connector = f"{self.name}-{index + 1}"
            names.append(str(uuid.uuid5(uuid.NAMESPACE_OID, connector)))
            self.stack.states.start_execution(
                stateMachineArn=arn,
                name=names[-1],
                input=json.dumps(
                    {
                        "connectorId": connector,
                        "teamId": self.name,
                        "recipient": {"type": "token", "secureContact": "data-team@acme.test"},
                        "workflows": "all",
                    }
                ),
            )
        self.stack.ended(arn, names)

    def deliver(self, count):
        """Delivers runs at the same time and returns their executions."""
        ids = []
        for _ in range(count):
            self.runs += 1
            self.commits += 1
            ids.append(str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.name}/{self.runs}")))
            run = {"teamId": self.name, "workflowId": WORKFLOW, "runId": ids[-1]}
            key = f"kadoa/{self.name}/{WORKFLOW}/{ids[-1]}/data.jsonl"
            rows = [
                {"product": f"p-{row}", "price": row / 4, "seen_at": "2026-09-01T06:00:00Z", "_page": "https://x.test"}
                for row in range(ROWS)
            ]
            body = "\n".join(json.dumps(row) for row in rows)
            self.stack.s3.put_object(Bucket=self.stack.outputs["RunOutputBucketName"], Key=key, Body=body.encode())
            self.stack.announce(run, FIELDS, key, ROWS)
        return self.stack.ended(self.stack.outputs["DeliverRunArn"], ids)

    def age_to(self, age):
        """Makes the tables of the team's first connector so old; the last deliveries are real in any case."""
        if age > REAL_COMMITS_MAX:
            history.write(self.stack, f"{self.name}-1", WORKFLOW, age - WARMING)
            self.commits = max(self.commits, age - WARMING)
        while self.commits < age:
            say(f"{self.name}: {self.commits} of {age} commits")
            self.deliver(max(1, min(TOGETHER, age - WARMING - self.commits)))


def chill(stack):
    """Has every function start anew at its next invocation: a changed configuration does that.

    The emulator looks at some properties only, and at whether they are given: so the timeout is, as it is.
    """
    functions = stack.client("lambda")
    for page in functions.get_paginator("list_functions").paginate():
        for function in page["Functions"]:
            functions.update_function_configuration(
                FunctionName=function["FunctionName"], Description=f"cold {uuid.uuid4()}", Timeout=function["Timeout"]
            )


def counted(stack, team, deliveries, cold=False):
    """Delivers one run after the other and counts each."""
    admin = stack.described["gatewayAdmin"]
    age = team.commits
    operations, totals, transitions, processes = collections.Counter(), [], [], set()
    for index in range(deliveries):
        say(f"{team.name}, {age} commits{', cold' if cold else ''}: delivery {index + 1} of {deliveries}")
        if cold:
            chill(stack)
        request("DELETE", f"{admin}/requests")
        (execution,) = team.deliver(1)
        asked = [entry for entry in json.loads(request("GET", f"{admin}/requests")) if entry["isFunction"]]
        seen = {entry["pid"] for entry in json.loads(request("GET", f"{admin}/requests/log")) if entry["isFunction"]}
        if cold and seen & processes:
            sys.exit("a function was to start anew and did not")
        processes |= seen
        total = dict.fromkeys(SERVICES.values(), 0)
        for entry in asked:
            service = SERVICES.get(entry["service"], entry["service"])
            function = binary(stack, entry["caller"])
            operations[function, service, entry["operation"]] += entry["count"]
            if function not in BESIDE:
                total[service] = total.get(service, 0) + entry["count"]
        totals.append(total)
        transitions.append(state_transitions(stack, execution, team.connectors))
    return {
        "connectors": team.connectors,
        "tableAge": age,
        "cold": cold,
        "deliveries": deliveries,
        "operations": [
            {"function": function, "service": service, "operation": operation, "count": count}
            for (function, service, operation), count in sorted(operations.items())
        ],
        "totals": totals,
        "stateTransitions": transitions,
    }


def binary(stack, function):
    """The name of a function's binary, from the name that the deployment gave the function."""
    logical_id = function.removeprefix(stack.described["stackName"] + "-").split("-")[0]
    return re.sub("(?<!^)(?=[A-Z])", "-", logical_id.removesuffix("Function")).lower()


def state_transitions(stack, execution, connectors):
    """The states that were entered. AWS also bills each retry, of which a warm delivery has none.

    The emulator's history leaves out what a Map runs, so each item's way through it is read from the definition.
    """
    pages = stack.states.get_paginator("get_execution_history").paginate(executionArn=execution)
    events = [event for page in pages for event in page["events"] if event["type"].endswith("StateEntered")]
    entered = [event["stateEnteredEventDetails"]["name"] for event in events]
    arn = stack.outputs["DeliverRunArn"]
    states = json.loads(stack.states.describe_state_machine(stateMachineArn=arn)["definition"])["States"]
    count = len(entered)
    for name in entered:
        processor = states.get(name, {}).get("ItemProcessor")
        if processor and processor["StartAt"] not in entered:
            count += connectors * len(way(processor))
    return count


def way(machine):
    """The states that an execution enters in which nothing fails."""
    names, name = [], machine["StartAt"]
    while name:
        names.append(name)
        name = machine["States"][name].get("Next")
    return names


def main(path, deliveries, ages, connectors):
    stack = Stack(path)
    deliveries, ages = int(deliveries), [int(age) for age in ages.split(",")]
    request("POST", f"{stack.described['awsEndpoint']}/_ministack/config", {"stepfunctions._SFN_WAIT_SCALE": 0})
    one, many = Team(stack, "bench-one", 1), Team(stack, "bench-many", int(connectors))
    for team in (one, many):
        say(f"{team.name}: setting up {team.connectors}")
        team.set_up()
    scenarios = []
    for age in ages:
        one.age_to(age)
        scenarios.append(counted(stack, one, deliveries))
        scenarios.append(counted(stack, one, min(COLD_DELIVERIES, deliveries), cold=True))
    many.age_to(ages[0])
    scenarios.append(counted(stack, many, deliveries))
    say(json.dumps({"scenarios": scenarios}))


main(*sys.argv[1:])
