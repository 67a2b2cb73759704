"""Reads a Delta log: commits, checkpoints of every kind, snapshots of versions.

Knows files in a folder and nothing of sharing. Every call reads the log again, as a table may have grown.
"""

import json
import os
import re

import pyarrow.parquet as parquet

COMMIT = re.compile(r"(\d{20})\.json$")
CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10})|\.([0-9a-f-]{36}))?\.(parquet|json)$")


class NoSuchVersion(Exception):
    """The log does not reach back, or forward, to a version."""


def too_early(first):
    """The refusal of a time before everything."""
    return NoSuchVersion(f"The provided timestamp is before the earliest available version {first}. Please use a "
                         "timestamp greater than or equal to its time.")


def too_late(last):
    """The refusal of a time behind everything."""
    return NoSuchVersion(f"The provided timestamp is after the latest available version {last}. Please use a "
                         "timestamp less than or equal to its time.")


class Snapshot:
    """A version of a table: its protocol, its metadata and its `add` actions in a fixed order."""

    def __init__(self, version, protocol, metadata, files):
        self.version, self.protocol, self.metadata, self.files = version, protocol, metadata, files


class Log:
    """The log of one table."""

    def __init__(self, folder):
        self.folder, self.log = folder, os.path.join(folder, "_delta_log")
        names = os.listdir(self.log)
        self.commits = sorted(int(found[1]) for found in map(COMMIT.match, names) if found)
        self.checkpoints = {}
        for name in sorted(names):
            found = CHECKPOINT.match(name)
            if found:
                parts = self.checkpoints.setdefault(int(found[1]), {})
                parts.setdefault(int(found[3] or 1), []).append(name)
        self.latest = max([*self.commits, *self.checkpoints])

    def actions(self, version):
        """The actions of a commit."""
        with open(os.path.join(self.log, f"{version:020}.json"), encoding="utf-8") as file:
            return [json.loads(line) for line in file.read().split("\n") if line.strip()]

    def timestamp(self, version):
        """The commit time of a version, in milliseconds."""
        for action in self.actions(version):
            if "commitInfo" in action and "timestamp" in action["commitInfo"]:
                return action["commitInfo"]["timestamp"]
        return int(os.stat(os.path.join(self.log, f"{version:020}.json")).st_mtime * 1000)

    def checkpointed(self, names):
        """The actions of a checkpoint's files, with its sidecars."""
        for name in names:
            path = os.path.join(self.log, name)
            if name.endswith(".json"):
                with open(path, encoding="utf-8") as file:
                    actions = [json.loads(line) for line in file]
            else:
                actions = parquet.read_table(path).to_pylist()
            for action in actions:
                if action.get("sidecar"):
                    yield from self.checkpointed([os.path.join("_sidecars", action["sidecar"]["path"])])
                else:
                    yield {kind: cleaned(value) for kind, value in action.items() if value is not None}

    def readable(self):
        """The versions of which a snapshot can be made."""
        complete = {version for version, parts in self.checkpoints.items()
                    if any(len(names) == count for count, names in parts.items())}
        reached, found = False, []
        for version in range(self.latest + 1):
            reached = version in complete or (version in self.commits and (reached or version == 0))
            if reached:
                found.append(version)
        return found

    def snapshot(self, version=None):
        """A version of the table; the newest if not told."""
        version = self.latest if version is None else version
        if version not in self.readable():
            raise NoSuchVersion(f"version {version} is not in the log: it has {self.readable()[0]} to {self.latest}")
        protocol, metadata, files, start = None, None, {}, 0
        for at, parts in sorted(self.checkpoints.items(), reverse=True):
            names = next((names for count, names in parts.items() if len(names) == count), None)
            if at <= version and names:
                for action in self.checkpointed(names):
                    protocol, metadata = action.get("protocol", protocol), action.get("metaData", metadata)
                    if "add" in action:
                        files[action["add"]["path"]] = action["add"]
                start = at + 1
                break
        for commit in range(start, version + 1):
            actions = self.actions(commit)
            for action in actions:
                if "remove" in action:
                    files.pop(action["remove"]["path"], None)
            for action in actions:
                protocol, metadata = action.get("protocol", protocol), action.get("metaData", metadata)
                if "add" in action:
                    files[action["add"]["path"]] = action["add"]
        return Snapshot(version, protocol, metadata, [files[path] for path in sorted(files)])

    def version_at_or_before(self, at):
        """The newest version whose commit is not later than a time in milliseconds."""
        found = [version for version in self.readable() if version in self.commits and self.timestamp(version) <= at]
        if not found:
            raise too_early(self.commits[0])
        if at > self.timestamp(self.latest):
            raise too_late(self.latest)
        return found[-1]

    def version_within(self, at):
        """The oldest version whose commit is not earlier than a time, which is not before the first one."""
        if at < self.timestamp(self.commits[0]):
            raise too_early(self.commits[0])
        return self.version_at_or_after(at)

    def version_at_or_after(self, at):
        """The oldest version whose commit is not earlier than a time in milliseconds."""
        for version in self.commits:
            if self.timestamp(version) >= at:
                return version
        raise too_late(self.latest)


def cleaned(value):
    """A checkpoint's struct as a commit's JSON has it: maps as objects, nothing that is null."""
    found = {}
    for name, inner in value.items():
        if name in ("partitionValues", "configuration", "tags") and isinstance(inner, list):
            found[name] = dict(inner)
        elif isinstance(inner, dict) and name == "format":
            found[name] = {"provider": inner["provider"], "options": dict(inner.get("options") or [])}
        elif inner is not None:
            found[name] = inner
    return found
