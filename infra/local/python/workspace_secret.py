"""Keeps the local Databricks service principal's secret in Secrets Manager, as an operator does once.

Usage: workspace_secret.py NAME CLIENT_ID CLIENT_SECRET

Prints the secret's ARN as JSON. Endpoint, region and credentials come from the environment.
"""

import json
import sys

import boto3
from botocore.exceptions import ClientError


def main(name, client_id, client_secret):
    secrets = boto3.client("secretsmanager")
    text = json.dumps({"clientId": client_id, "clientSecret": client_secret})
    try:
        arn = secrets.create_secret(Name=name, SecretString=text)["ARN"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceExistsException":
            raise
        arn = secrets.put_secret_value(SecretId=name, SecretString=text)["ARN"]
    print(json.dumps({"arn": arn}))


if __name__ == "__main__":
    main(*sys.argv[1:])
