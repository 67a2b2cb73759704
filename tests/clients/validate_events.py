"""Validates events against their documented JSON schemas with the jsonschema package, which knows nothing of us.

usage: validate_events.py FOLDER_OF_SCHEMAS FILE_OF_EVENTS    (one event of EventBridge a line)
"""

import json
import pathlib
import sys

from jsonschema import Draft202012Validator

folder = pathlib.Path(sys.argv[1])
validators = {}
for path in folder.glob("*.json"):
    schema = json.loads(path.read_text())
    Draft202012Validator.check_schema(schema)
    validators[path.name] = Draft202012Validator(schema)

count = 0
for line in pathlib.Path(sys.argv[2]).read_text().splitlines():
    event = json.loads(line)
    assert event["source"] == "spillway", event
    name = f"{event['detail-type']}.v{event['detail']['schemaVersion']}.json"
    problems = [error.message for error in validators[name].iter_errors(event["detail"])]
    assert not problems, (name, problems)
    for missing in event["detail"]:
        # The schema asks for something: without any one of its properties no event is valid.
        less = {key: value for key, value in event["detail"].items() if key != missing}
        assert list(validators[name].iter_errors(less)), (name, missing)
    count += 1
print(f"{count} events are valid", flush=True)
