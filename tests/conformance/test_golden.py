"""Whole answers, compared with golden files: what every conforming server answers, but for what may differ."""

import json
import os

import pytest

from harness.golden import whole
from harness.rules import PROTOCOL, rule
from harness.server import DELTA

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden")

#: Each golden file: the capability that it needs, the table, and the question.
QUESTIONS = {
    "metadata": ((), "main.plain", lambda server, table: server.metadata(table)),
    "metadata_with_partitions": ((), "main.partitioned_by_type", lambda server, table: server.metadata(table)),
    "metadata_of_every_type": ((), "main.types", lambda server, table: server.metadata(table)),
    "query": ((), "main.plain", lambda server, table: server.query(table)),
    "query_of_nothing": ((), "main.empty", lambda server, table: server.query(table)),
    "query_with_partitions": ((), "main.partitioned_by_type", lambda server, table: server.query(table)),
    "query_of_a_version": (("history",), "main.plain", lambda server, table: server.query(table, {"version": 1})),
    "query_without_history": ((), "main.no_history", lambda server, table: server.query(table, {"version": 1})),
    "query_in_delta_format": (("delta-format",), "main.changes_without_files",
                              lambda server, table: server.query(table, capabilities=DELTA)),
    "changes_since_a_version": (("history",), "main.changes_without_files",
                                lambda server, table: server.query(table, {"startingVersion": 0})),
    "change_data_feed": (("cdf",), "main.changes", lambda server, table: server.changes(table, startingVersion=0)),
    "change_data_feed_in_delta_format": (
        ("cdf", "delta-format"), "main.changes",
        lambda server, table: server.changes(table, DELTA, startingVersion=1, includeHistoricalMetadata="true")),
    "change_data_feed_without_a_start": (("cdf",), "main.changes", lambda server, table: server.changes(table)),
    "column_mapping": (("delta-format", "column-mapping"), "advanced.mapped_by_name",
                       lambda server, table: server.query(table, capabilities=DELTA)),
    "deletion_vectors": (("delta-format", "deletion-vectors"), "advanced.vectors_in_file",
                         lambda server, table: server.query(table, capabilities=DELTA)),
    "version": ((), "main.plain", lambda server, table: server.version(table)),
}


@rule("GLD-01", f"{PROTOCOL} API Response Actions")
@pytest.mark.parametrize("name", QUESTIONS)
def test_an_answer_is_the_golden_one(server, truth, pytestconfig, name):
    """Status, headers and lines are those of the golden file, without URLs, ids, times, and what is optional."""
    needs, table, ask = QUESTIONS[name]
    lacking = truth.absent.intersection(needs)
    if lacking:
        pytest.skip(f"the server lacks {', '.join(sorted(lacking))}")
    found = whole(ask(server, truth.table(f"alpha.{table}")))
    path = os.path.join(FOLDER, f"{name}.json")
    text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if pytestconfig.getoption("update_golden"):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    with open(path, encoding="utf-8") as file:
        assert text.split("\n") == file.read().split("\n")


@rule("GLD-02", f"{PROTOCOL} API Response Actions")
def test_every_golden_file_belongs_to_a_question():
    """No golden file is left over."""
    assert {name for name in os.listdir(FOLDER)} == {f"{name}.json" for name in QUESTIONS}
