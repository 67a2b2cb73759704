"""What the bench's drivers need of a local stack: clients, small runs, and waiting for executions."""

import json
import pathlib
import sys
import time

import boto3

PATIENCE_SECONDS = 300


class Stack:
    """A running local stack, as its `stack.json` describes it."""

    def __init__(self, path):
        described = json.loads(pathlib.Path(path).read_text())
        self.described = described
        self.outputs = described["outputs"]
        self.s3, self.sqs = self.client("s3"), self.client("sqs")
        self.dynamodb, self.states = self.client("dynamodb"), self.client("stepfunctions")

    def client(self, service):
        return boto3.client(
            service,
            endpoint_url=self.described["awsEndpoint"],
            region_name=self.described["region"],
            aws_access_key_id=self.described["accessKeyId"],
            aws_secret_access_key=self.described["secretAccessKey"],
        )

    def announce(self, run, fields, key, rows):
        """Sends the run-completed message of a run whose output lies under a key of the run-output bucket."""
        message = {
            "eventType": "workflow_run_completed",
            "eventId": f"event-{run['runId']}",
            **run,
            "workflowName": "Bench",
            "state": "FINISHED",
            "startedAt": "2026-09-01T06:00:00Z",
            "finishedAt": "2026-09-01T06:07:30Z",
            "schema": {"fields": [{"fieldType": "SCHEMA", **field} for field in fields]},
            "output": {"format": "jsonl", "objects": [{"key": key}], "rowCount": rows},
        }
        self.sqs.send_message(QueueUrl=self.outputs["RunCompletedQueueUrl"], MessageBody=json.dumps(message))

    def ended(self, state_machine, prefixes):
        """Waits for the executions whose names begin so, and returns their ARNs. Ends this program if one fails."""
        pages = self.states.get_paginator("list_executions")
        deadline = time.monotonic() + PATIENCE_SECONDS
        found = {}
        while time.monotonic() < deadline:
            for page in pages.paginate(stateMachineArn=state_machine, PaginationConfig={"PageSize": 1000}):
                for execution in page["executions"]:
                    found[execution["name"][:36]] = execution
            ours = [found[prefix] for prefix in prefixes if prefix in found]
            for execution in ours:
                if execution["status"] not in ("RUNNING", "SUCCEEDED"):
                    described = self.states.describe_execution(executionArn=execution["executionArn"])
                    sys.exit(f"{execution['name']}: {execution['status']}: {described.get('cause', 'no cause')}")
            if len(ours) == len(prefixes) and all(execution["status"] == "SUCCEEDED" for execution in ours):
                return [execution["executionArn"] for execution in ours]
            time.sleep(0.05)
        sys.exit(f"not ended after {PATIENCE_SECONDS} s: {sorted(set(prefixes) - set(found)) or 'all are running'}")


def say(text):
    print(text, flush=True)
