"""Counts what deliveries of small runs ask of AWS, by function and operation, as the tables grow older.

usage: deliveries.py STACK_JSON DELIVERIES AGE[,AGE…] CONNECTORS

One team has one connector, another one CONNECTORS. A table's age is the number of its commits before the first
counted delivery. The team with many connectors is counted at the first age only: staging does not know a table's age.
Deliveries that are counted run one after the other, through warm functions; the others make the tables older.
"""

import collections
import json
import sys
import urllib.request
import uuid

from stack import Stack, say

FIELDS = [
    {"name": "product", "dataType": "STRING", "isKey": True},
    {"name": "price", "dataType": "NUMBER"},
    {"name": "seen_at", "dataType": "DATETIME"},
    {"name": "_page", "dataType": "LINK"},
]
ROWS = 20
# Deliveries at once while a table is made older.
TOGETHER = 5
SERVICES = {"s3": "S3", "dynamodb": "DynamoDB", "states": "Step Functions", "sqs": "SQS"}


def request(method, address, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(address, data, method=method), timeout=60) as answer:
        return answer.read()


class Team:
    """A team, its connectors, and its runs so far."""

    def __init__(self, stack, name, connectors):
        self.stack, self.name, self.connectors, self.runs = stack, name, connectors, 0

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
            ids.append(str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.name}/{self.runs}")))
            run = {"teamId": self.name, "workflowId": "bench-prices", "runId": ids[-1]}
            key = f"kadoa/{self.name}/bench-prices/{ids[-1]}/data.jsonl"
            rows = [
                {"product": f"p-{row}", "price": row / 4, "seen_at": "2026-09-01T06:00:00Z", "_page": "https://x.test"}
                for row in range(ROWS)
            ]
            body = "\n".join(json.dumps(row) for row in rows)
            self.stack.s3.put_object(Bucket=self.stack.outputs["RunOutputBucketName"], Key=key, Body=body.encode())
            self.stack.announce(run, FIELDS, key, ROWS)
        return self.stack.ended(self.stack.outputs["DeliverRunArn"], ids)

    def age_to(self, age):
        while self.runs < age:
            say(f"{self.name}: {self.runs} of {age} commits")
            self.deliver(min(TOGETHER, age - self.runs))


def counted(stack, team, deliveries):
    """Delivers one run after the other and counts each."""
    admin = stack.described["gatewayAdmin"]
    age = team.runs
    operations, totals, transitions = collections.Counter(), [], []
    for index in range(deliveries):
        say(f"{team.name}, {age} commits: delivery {index + 1} of {deliveries}")
        request("DELETE", f"{admin}/requests")
        (execution,) = team.deliver(1)
        asked = [entry for entry in json.loads(request("GET", f"{admin}/requests")) if entry["isFunction"]]
        total = dict.fromkeys(SERVICES.values(), 0)
        for entry in asked:
            service = SERVICES.get(entry["service"], entry["service"])
            operations[entry["caller"], service, entry["operation"]] += entry["count"]
            total[service] = total.get(service, 0) + entry["count"]
        totals.append(total)
        transitions.append(state_transitions(stack, execution))
    return {
        "connectors": team.connectors,
        "tableAge": age,
        "deliveries": deliveries,
        "operations": [
            {"function": function, "service": service, "operation": operation, "count": count}
            for (function, service, operation), count in sorted(operations.items())
        ],
        "totals": totals,
        "stateTransitions": transitions,
    }


def state_transitions(stack, execution):
    """The states that were entered. AWS also bills each retry, of which a warm delivery has none."""
    pages = stack.states.get_paginator("get_execution_history").paginate(executionArn=execution)
    return sum(event["type"].endswith("StateEntered") for page in pages for event in page["events"])


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
    many.age_to(ages[0])
    scenarios.append(counted(stack, many, deliveries))
    say(json.dumps({"scenarios": scenarios}))


main(*sys.argv[1:])
