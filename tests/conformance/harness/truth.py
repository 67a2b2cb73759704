"""The truth about the fixtures, from their manifest."""

import json
import os

import pytest

from fixtures.values import multiset


class Table:
    """What is known of one table."""

    def __init__(self, facts):
        self.facts = facts
        self.names = (facts["share"], facts["schema"], facts["name"])
        self.name = ".".join(self.names)
        self.versions = sorted(int(version) for version in facts["versions"])
        self.latest, self.earliest = self.versions[-1], facts["earliest"]
        self.columns = {column["name"]: column["type"] for column in facts["columns"]}
        self.partition_columns = facts["partitionColumns"]
        self.history, self.needs, self.readable = facts["history"], facts["needs"], facts["readable"]
        self.grows = facts["grows"]

    def __repr__(self):
        return self.name

    def rows(self, version=None):
        """The rows of a version, or of the newest, in an order of their own."""
        return multiset(self.facts["versions"][str(self.latest if version is None else version)]["rows"])

    def files(self, version=None):
        """How many files a version has."""
        return self.facts["versions"][str(self.latest if version is None else version)]["files"]

    def timestamp(self, version):
        """The commit time of a version, in milliseconds."""
        return self.facts["versions"][str(version)]["timestamp"]

    def changes(self, first, last=None):
        """The row changes of versions, in an order of their own."""
        last = self.latest if last is None else last
        return multiset(row for row in self.facts["changes"] if first <= row["_commit_version"] <= last)


class Truth:
    """Every table of the fixtures, and which of them this server can serve."""

    def __init__(self, folder, not_loaded=(), absent=()):
        with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as file:
            manifest = json.load(file)
        self.folder, self.shares = str(folder), manifest["shares"]
        self.not_loaded, self.absent = set(not_loaded), set(absent)
        self.tables = {table.name: table for table in map(Table, manifest["tables"])}

    def loaded(self, *names):
        """Whether a share, schema or table was loaded."""
        return not any(".".join(names[:length]) in self.not_loaded for length in range(1, len(names) + 1))

    def missing(self, table):
        """Why this server does not serve a table, or nothing."""
        if not self.loaded(*table.names):
            return f"{table.name} is not loaded"
        lacking = self.absent.intersection(table.needs)
        return f"{table.name} needs {', '.join(sorted(lacking))}" if lacking else None

    def table(self, name):
        """A table by its name; skips the test if this server does not serve it."""
        table = self.tables[name]
        reason = self.missing(table)
        if reason:
            pytest.skip(reason)
        return table

    def below(self, *names):
        """The names of the loaded shares' schemas, or of a schema's tables."""
        if len(names) == 1 and names[0] == "alpha" and self.loaded("alpha", "bare"):
            extra = {"bare"}
        else:
            extra = set()
        found = {table.names[len(names)] for table in self.tables.values()
                 if table.names[:len(names)] == names and self.loaded(*table.names)}
        return sorted(found | extra)
