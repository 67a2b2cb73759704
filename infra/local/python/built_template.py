"""Writes the template that `sam build` would write, around functions that cargo has already built.

Usage: built_template.py TEMPLATE BINARIES OUTPUT

TEMPLATE is the production template, BINARIES a directory with one folder per function binary, each
holding `bootstrap`, OUTPUT the directory to write: `template.yaml` beside one folder per function,
named by its logical id. Nothing but the places of code and of state machine definitions changes.
"""

import os
import sys
from pathlib import Path

from samcli.yamlhelper import parse_yaml_file, yaml_dump


def binary_of(logical_id, resource):
    """The name of a function's binary: as its metadata says, else its code's folder."""
    build = resource.get("Metadata", {}).get("BuildProperties", {})
    name = build.get("Binary") or Path(str(resource["Properties"].get("CodeUri", ""))).name
    if not name or name in (".", ".."):
        sys.exit(f"{logical_id}: say which binary it runs, by CodeUri or Metadata.BuildProperties.Binary")
    return name


def main(template, binaries, output):
    template, binaries, output = Path(template).resolve(), Path(binaries), Path(output)
    document = parse_yaml_file(str(template))
    output.mkdir(parents=True, exist_ok=True)
    for logical_id, resource in document.get("Resources", {}).items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function" and "InlineCode" not in properties:
            name = binary_of(logical_id, resource)
            bootstrap = binaries / name / "bootstrap"
            if not bootstrap.is_file():
                sys.exit(f"{logical_id}: the workspace builds no binary `{name}`; check its CodeUri")
            folder = output / logical_id
            folder.mkdir(exist_ok=True)
            link = folder / "bootstrap"
            link.unlink(missing_ok=True)
            os.link(bootstrap, link)
            properties["CodeUri"] = logical_id
            resource.setdefault("Metadata", {})["SamResourceId"] = logical_id
        definition = properties.get("DefinitionUri")
        if resource["Type"] == "AWS::Serverless::StateMachine" and isinstance(definition, str):
            properties["DefinitionUri"] = str(template.parent / definition)
    (output / "template.yaml").write_text(yaml_dump(document), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
