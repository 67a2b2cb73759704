"""Records many deliveries as shared, as the state machine would at its end, each of them twice.

usage: record_runs.py DELIVER_RUN_ARN RUN_ID COUNT
The run is one that was delivered to one connector: its last step is repeated with other run ids, which are printed.
"""

import concurrent.futures
import json
import os
import sys

import boto3
from botocore.config import Config

WORKERS = 16
machine, run_id, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
endpoint = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"], "region_name": os.environ["AWS_REGION"]}
states = boto3.client("stepfunctions", **endpoint)
functions = boto3.client("lambda", config=Config(max_pool_connections=WORKERS), **endpoint)


def staged_run():
    """What the execution of the run handed to its connectors' steps."""
    for page in states.get_paginator("list_executions").paginate(stateMachineArn=machine):
        for execution in page["executions"]:
            arn = execution["executionArn"]
            if run_id not in states.describe_execution(executionArn=arn)["input"]:
                continue
            for events in states.get_paginator("get_execution_history").paginate(executionArn=arn):
                for event in events["events"]:
                    entered = event.get("stateEnteredEventDetails", {})
                    if entered.get("name") == "DeliverToEachConnector":
                        return json.loads(entered["input"])
    sys.exit(f"run {run_id} has no execution that staged it")


def name_of(part):
    for page in functions.get_paginator("list_functions").paginate():
        for function in page["Functions"]:
            if part in function["FunctionName"]:
                return function["FunctionName"]
    sys.exit(f"no function is named after {part}")


def invoke(function, payload):
    answer = functions.invoke(FunctionName=function, Payload=json.dumps(payload))
    content = answer["Payload"].read().decode()
    if "FunctionError" in answer:
        sys.exit(content)
    return json.loads(content)


found = staged_run()
[connector] = found["connectors"]
[staged] = found["stageRun"]["staged"]["runs"]
step = {name: found[name] for name in ("teamId", "workflowId")}
step |= {"connectorId": connector, "staged": found["stageRun"]["staged"]}
# Publishing a run again finds it published, and says where.
step["table"] = invoke(name_of("PublishRun"), step)
[loaded] = step["table"]["runs"]
recorder = name_of("RecordOutcome")


def record(other):
    """Hands the step in as that of a run of another id, which has the rows of the first."""
    again = {
        **step,
        "staged": {**step["staged"], "runs": [{**staged, "runId": other}]},
        "table": {**step["table"], "runs": [{**loaded, "runId": other}]},
    }
    for _ in range(2):
        answer = invoke(recorder, again)
        if answer.get("sharedCount") != 1:
            sys.exit(f"run {other} was not recorded: {answer}")
    return other


with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
    for recorded in pool.map(record, [f"recorded-{run_id[:8]}-{number:04}" for number in range(count)]):
        print(recorded)
