"""The change data feed."""

import pytest

from fixtures.values import multiset
from harness.rows import columns_of
from harness.rules import CLIENT, PROTOCOL, REFERENCE, rule
from harness.server import DELTA
from harness.times import iso


@pytest.fixture
def table(truth):
    """A table with change files."""
    return truth.table("alpha.main.changes")


@pytest.fixture
def grown(truth):
    """A table without change files, to which a column was added."""
    return truth.table("alpha.main.changes_without_files")


def padded(table, rows):
    """Row changes with every later column as null."""
    return multiset({**dict.fromkeys(table.columns), **row} for row in rows)


@rule("CDF-01", f"{PROTOCOL} Read Change Data Feed from a Table", needs=("cdf", "known-timestamps"))
def test_the_feed_holds_exactly_the_changes_of_its_versions(server, table, grown, truth, fetcher):
    """For every range of versions, the rows of the lines are the changes, with their kind, version and commit time."""
    for each in (table, grown, truth.table("alpha.logs.large_commits")):
        for first in each.versions:
            for last in [version for version in each.versions if version >= first] + [None]:
                answer = server.changes(each, startingVersion=first, endingVersion=last).ok()
                assert fetcher.changes(each, answer) == padded(each, each.changes(first, last)), (each, first, last)


@rule("CDF-02", f"{PROTOCOL} Read Change Data Feed from a Table", needs="cdf")
def test_the_feed_is_protocol_metadata_and_changed_files(server, table):
    """The lines are `protocol`, `metaData`, then `add`, `cdf` and `remove`, as NDJSON."""
    answer = server.changes(table, startingVersion=0).ok()
    kinds = [kind for line in answer.lines for kind in line]
    assert kinds[:2] == ["protocol", "metaData"] and set(kinds[2:]) == {"add", "cdf", "remove"}
    assert answer.headers["Content-Type"].lower().replace(" ", "") == "application/x-ndjson;charset=utf-8"


@rule("CDF-03", f"{PROTOCOL} Read Change Data Feed from a Table", needs="cdf")
def test_the_header_is_the_starting_version(server, table):
    """`Delta-Table-Version` of a feed is its first version."""
    for version in table.versions:
        assert server.changes(table, startingVersion=version).ok().version == version


@rule("CDF-04", "Delta protocol, Add CDC File", needs="cdf")
def test_a_version_with_change_files_gives_those_only(server, table):
    """If a version has change files, its added and removed files are not in the feed."""
    for version in (2, 3):
        answer = server.changes(table, startingVersion=version, endingVersion=version).ok()
        assert [kind for kind, _ in answer.files] == ["cdf"]


@rule("CDF-05", "Delta protocol, Add CDC File", needs="cdf")
def test_a_compaction_is_no_change(server, table):
    """A commit that changes no rows is not in the feed; a range of nothing else is 200 without files."""
    answer = server.changes(table, startingVersion=4, endingVersion=4).ok()
    assert answer.files == [] and [list(line) for line in answer.lines] == [["protocol"], ["metaData"]]


@rule("CDF-06", f"{PROTOCOL} CDF File", needs=("cdf", "known-timestamps"))
def test_a_changed_file_has_its_version_and_commit_time(server, table, grown):
    """Each line has `url`, `id`, `partitionValues`, `size`, and `version` and `timestamp` of its commit."""
    for each in (table, grown):
        for _, content in server.changes(each, startingVersion=0).ok().files:
            assert content["timestamp"] == each.timestamp(content["version"])
            assert content["url"] and content["id"] and content["size"] > 0
            assert set(content["partitionValues"]) == set(each.partition_columns)


@rule("CDF-07", f"{PROTOCOL} Read Change Data Feed from a Table", needs=("cdf", "known-timestamps"))
def test_times_stand_for_the_versions_between_them(server, table):
    """`startingTimestamp` is the first version at or after it, `endingTimestamp` the last at or before it."""
    for first in (1, 2):
        for last in (3, 5):
            found = server.changes(table, startingTimestamp=iso(table.timestamp(first) - 1_000),
                                   endingTimestamp=iso(table.timestamp(last) + 1_000)).ok()
            exact = server.changes(table, startingTimestamp=iso(table.timestamp(first)),
                                   endingTimestamp=iso(table.timestamp(last))).ok()
            wanted = server.changes(table, startingVersion=first, endingVersion=last).ok()
            for answer in (found, exact):
                assert answer.version == first
                assert [content["id"] for _, content in answer.files] == [content["id"] for _, content in wanted.files]


@rule("CDF-08", f"{PROTOCOL} Read Change Data Feed from a Table", needs="cdf")
@pytest.mark.parametrize("parameters", [
    {}, {"endingVersion": 3}, {"startingVersion": 0, "startingTimestamp": "2024-01-01T00:00:00Z"},
    {"startingVersion": 0, "endingVersion": 1, "endingTimestamp": "2024-01-03T00:00:00Z"}, {"startingVersion": -1},
    {"startingVersion": "one"}, {"startingVersion": 3, "endingVersion": 2}, {"startingVersion": 1_000},
    {"startingVersion": 0, "endingVersion": "last"}, {"startingTimestamp": "yesterday"}, {"startingVersion": ""},
    {"startingTimestamp": "2999-01-01T00:00:00Z"}, {"startingVersion": 0, "endingTimestamp": "1999-01-01T00:00:00Z"},
], ids=str)
def test_a_feed_without_a_proper_range_is_refused(server, table, parameters):
    """No start, two starts or ends, a start behind the end or behind the table, or what is no version, is 400."""
    server.changes(table, **parameters).refused(400)


@rule("CDF-09", f"{REFERENCE}; Read Change Data Feed from a Table", needs="cdf")
def test_a_table_without_a_feed_refuses_it(server, truth, plain):
    """A table whose feed is not enabled, or whose history is not shared, is 400."""
    server.changes(plain, startingVersion=0).refused(400)
    server.changes(truth.table("alpha.main.changes_not_shared"), startingVersion=0).refused(400)


@rule("CDF-10", REFERENCE, needs=("cdf", "reference-errors"))
def test_the_refusal_has_the_words_of_the_reference_server(server, truth):
    """Without a shared feed the message has "cdf is not enabled on table"."""
    answer = server.changes(truth.table("alpha.main.changes_not_shared"), startingVersion=0).refused(400)
    assert "cdf is not enabled on table" in answer.json["message"]


@rule("CDF-11", CLIENT, needs="cdf")
@pytest.mark.parametrize("flag", ["true", "True", "TRUE"])
def test_with_historical_metadata_the_first_metadata_is_the_starts(server, grown, flag):
    """With `includeHistoricalMetadata`, in any case, `metaData` is the start's with its version, and later ones
    follow."""
    answer = server.changes(grown, startingVersion=0, includeHistoricalMetadata=flag).ok()
    assert answer.metadata["version"] == 0 and list(columns_of(answer)) == ["id", "text", "k"]
    later = [line["metaData"] for line in answer.lines[2:] if "metaData" in line]
    assert [metadata["version"] for metadata in later] == [2]


@rule("CDF-12", f"{REFERENCE}; Read Change Data Feed from a Table", needs="cdf")
def test_without_historical_metadata_the_metadata_is_the_newest(server, grown):
    """Without `includeHistoricalMetadata`, or with `false`, the one `metaData` line is the newest version's."""
    for flag in (None, "false", "no"):
        answer = server.changes(grown, startingVersion=0, endingVersion=1, includeHistoricalMetadata=flag).ok()
        assert list(columns_of(answer)) == ["id", "text", "more", "k"]
        assert sum("metaData" in line for line in answer.lines) == 1


@rule("CDF-13", f"{PROTOCOL} File in Delta Format", needs=("cdf", "delta-format"))
def test_in_delta_format_the_feed_wraps_the_actions_of_the_log(server, table):
    """In Delta format each line is a `file` whose action is `add`, `remove` or `cdc`, with version and timestamp."""
    wrapped = server.changes(table, DELTA, startingVersion=0).ok()
    plain = server.changes(table, startingVersion=0).ok()
    found = sorted((*content["deltaSingleAction"], content["version"]) for _, content in wrapped.files)
    assert found == sorted(({"cdf": "cdc"}.get(kind, kind), content["version"]) for kind, content in plain.files)
    for _, content in wrapped.files:
        [action] = content["deltaSingleAction"].values()
        assert action["path"].startswith(("http://", "https://")) and type(content["timestamp"]) is int


@rule("CDF-14", CLIENT, needs=("cdf", "delta-format"))
def test_in_delta_format_historical_metadata_begins_with_the_start(server, table):
    """In Delta format with `includeHistoricalMetadata=True`, `metaData.version` is the start: readers begin there."""
    for version in (0, 2, 5):
        answer = server.changes(table, DELTA, startingVersion=version, includeHistoricalMetadata="True").ok()
        assert answer.metadata["version"] == version and answer.metadata["deltaMetadata"]["schemaString"]


@rule("CDF-15", f"{PROTOCOL} Read Change Data Feed from a Table", needs=("cdf", "historical-protocol", "delta-format"))
def test_historical_protocols_come_in_delta_format_only(server, table):
    """`includeHistoricalProtocol` puts a `version` on the first line in Delta format, and changes nothing in
    Parquet."""
    more = {"startingVersion": 1, "includeHistoricalMetadata": "true", "includeHistoricalProtocol": "true"}
    assert server.changes(table, DELTA, **more).ok().lines[0]["protocol"]["version"] == 1
    parquet = server.changes(table, **more).ok()
    assert "version" not in parquet.lines[0]["protocol"]


@rule("CDF-16", f"{PROTOCOL} Read Change Data Feed from a Table", without="cdf")
def test_a_server_without_a_feed_refuses_it(server, table):
    """A server without a change data feed answers 4xx (or 501), and not with something else."""
    answer = server.changes(table, startingVersion=0)
    assert 400 <= answer.status < 500 or answer.status == 501


@rule("CDF-17", CLIENT, needs="cdf")
def test_nothing_but_changed_files_follows_unasked(server, table, grown):
    """Without being asked for, no `endStreamAction` or `metaData` is in a feed: clients fail on it."""
    for each in (table, grown):
        answer = server.changes(each, startingVersion=0).ok()
        assert {kind for line in answer.lines[2:] for kind in line} <= {"add", "cdf", "remove"}


@rule("CDF-18", "Delta protocol, Change Data Files; Read Change Data Feed from a Table",
      needs=("cdf", "delta-format", "deletion-vectors"))
def test_a_delete_by_a_deletion_vector_is_in_the_feed(server, truth):
    """A version that deleted rows by a deletion vector gives its change file."""
    table = truth.table("alpha.advanced.vectors_changes")
    answer = server.changes(table, DELTA, startingVersion=1).ok()
    assert [list(content["deltaSingleAction"]) for _, content in answer.files] == [["cdc"]]


@rule("CDF-19", REFERENCE, needs=("cdf", "reference-errors"))
def test_a_feed_that_begins_outside_the_history_is_refused_in_the_words_of_the_reference_server(server, table):
    """`startingTimestamp` before the first commit is 400 with "Please use a timestamp greater", after the last one with
    "Please use a timestamp less"."""
    for text, words in (("2000-01-01T00:00:00Z", "Please use a timestamp greater"),
                        ("2999-01-01T00:00:00Z", "Please use a timestamp less")):
        assert words in server.changes(table, startingTimestamp=text).refused(400).json["message"]
    message = server.changes(table, startingTimestamp="randomTimestamp").refused(400).json["message"]
    assert "Invalid startingTimestamp:" in message
