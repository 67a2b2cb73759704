"""Does what the stack needs once around a deployment, and tells what it is.

Usage: after_deploy.py STACK SENDER

Verifies the sender's address with SES, as an operator does in AWS, and prints the stack's outputs
and function URLs as JSON. Endpoint, region and credentials come from the environment.
"""

import json
import sys

import boto3
from botocore.exceptions import ClientError


def verify(sender):
    try:
        boto3.client("sesv2").create_email_identity(EmailIdentity=sender)
    except ClientError as error:
        if error.response["Error"]["Code"] != "AlreadyExistsException":
            raise


def outputs(stack):
    described = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return {entry["OutputKey"]: entry["OutputValue"] for entry in described.get("Outputs", [])}


def function_urls(stack):
    """The host of every function URL of the stack, by the function's logical id."""
    found = {}
    pages = boto3.client("cloudformation").get_paginator("list_stack_resources")
    for page in pages.paginate(StackName=stack):
        for resource in page["StackResourceSummaries"]:
            if resource["ResourceType"] != "AWS::Lambda::Url":
                continue
            function = resource["PhysicalResourceId"]
            url = boto3.client("lambda").get_function_url_config(FunctionName=function)
            found[resource["LogicalResourceId"]] = url["FunctionUrl"]
    return found


def main(stack, sender):
    verify(sender)
    print(json.dumps({"outputs": outputs(stack), "functionUrls": function_urls(stack)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
