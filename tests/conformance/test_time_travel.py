"""Old versions of a table, and what changed since one."""

import pytest

from fixtures.values import multiset
from harness.rows import columns_of
from harness.rules import PROTOCOL, REFERENCE, rule
from harness.server import DELTA
from harness.times import iso


@rule("TTR-01", f"{PROTOCOL} Read Data from a Table", needs="history")
@pytest.mark.parametrize("name", ["main.plain", "main.evolved", "main.changes", "main.changes_without_files",
                                  "logs.checkpoints", "logs.multi_part", "logs.v2_json", "logs.cleaned"])
def test_a_version_has_the_rows_that_it_had(server, truth, fetcher, name):
    """`version` gives the files of that version, zero included: removed ones too, and none that came later."""
    table = truth.table(f"alpha.{name}")
    for version in table.versions:
        answer = server.query(table, {"version": version}).ok()
        assert fetcher.rows(table, answer, table.columns) == padded(table, version), (table, version)


def padded(table, version):
    """The rows of a version with every later column as null."""
    return multiset({**dict.fromkeys(table.columns), **row} for row in table.rows(version))


@rule("TTR-02", f"{PROTOCOL} Read Data from a Table", needs="history")
def test_the_header_and_the_schema_are_those_of_the_version(server, truth):
    """With `version` the header has its number, and the metadata its schema."""
    table = truth.table("alpha.main.evolved")
    for version, names in ((0, ["a"]), (1, ["a", "b"]), (2, ["a", "b", "c"])):
        answer = server.query(table, {"version": version}).ok()
        assert answer.version == version and list(columns_of(answer)) == names
        assert answer.metadata.get("version", version) == version


@rule("TTR-03", f"{PROTOCOL} File", needs=("history", "known-timestamps"))
def test_files_of_a_version_say_its_number_and_time(server, plain):
    """In an answer to `version` or `timestamp`, each file has the `version`, and its commit time as `timestamp`."""
    for body in ({"version": 1}, {"timestamp": iso(plain.timestamp(1))}):
        for _, content in server.query(plain, body).ok().files:
            assert (content["version"], content["timestamp"]) == (1, plain.timestamp(1))


@rule("TTR-04", f"{PROTOCOL} Read Data from a Table", needs=("history", "known-timestamps"))
def test_a_timestamp_gives_the_version_that_was_current_then(server, plain, fetcher):
    """`timestamp` gives the newest version that was committed at or before it."""
    for version in (0, 1):
        for at in (plain.timestamp(version), plain.timestamp(version) + 1, plain.timestamp(version + 1) - 1):
            answer = server.query(plain, {"timestamp": iso(at)}).ok()
            assert answer.version == version
            assert fetcher.rows(plain, answer) == plain.rows(version)
    assert server.query(plain, {"timestamp": iso(plain.timestamp(2))}).ok().version == 2


@rule("TTR-05", f"{REFERENCE}; Read Data from a Table", needs="history")
def test_a_timestamp_outside_the_history_is_refused(server, plain):
    """`timestamp` before the first commit, or after the last one, is 400."""
    server.query(plain, {"timestamp": "2000-01-01T00:00:00Z"}).refused(400)
    server.query(plain, {"timestamp": "2999-01-01T00:00:00Z"}).refused(400)


@rule("TTR-06", f"{PROTOCOL} Timestamp Format", needs="history")
@pytest.mark.parametrize("text", ["yesterday", "2024-02-30T00:00:00Z", "1704067200000", ""])
def test_a_timestamp_that_is_no_time_is_refused(server, plain, text):
    """`timestamp` in another form than ISO 8601 is 400."""
    server.query(plain, {"timestamp": text}).refused(400)


@rule("TTR-07", f"{REFERENCE}; Read Data from a Table", needs="history")
@pytest.mark.parametrize("body", [
    {"version": 1, "timestamp": "2024-01-02T00:00:00Z"}, {"version": 1, "startingVersion": 0},
    {"timestamp": "2024-01-02T00:00:00Z", "startingVersion": 0},
], ids=str)
def test_only_one_way_to_name_a_version_is_allowed(server, plain, body):
    """At most one of `version`, `timestamp` and `startingVersion` may be given; two are 400."""
    server.query(plain, body).refused(400)


@rule("TTR-08", f"{REFERENCE}; Read Data from a Table", needs="history")
@pytest.mark.parametrize("body", [{"version": -1}, {"startingVersion": -1}, {"version": "one"},
                                  {"startingVersion": 2, "endingVersion": 1},
                                  {"startingVersion": 0, "endingVersion": -1}],
                         ids=str)
def test_a_version_that_cannot_be_is_refused(server, plain, body):
    """A negative version, or a range that ends before it begins, is 400."""
    server.query(plain, body).refused(400)


@rule("TTR-09", f"{REFERENCE}; Read Data from a Table", needs="history")
def test_a_version_that_is_not_there_is_refused(server, plain, truth):
    """A version after the newest one, or one whose log was cleaned up, is 400 or 404 and no failure."""
    server.query(plain, {"version": plain.latest + 1}).refused(400, 404)
    server.query(plain, {"startingVersion": plain.latest + 1}).refused(400, 404)
    table = truth.table("alpha.logs.cleaned")
    server.query(table, {"version": table.earliest - 1}).refused(400, 404)
    server.query(table, {"startingVersion": 0}).refused(400, 404)


@rule("TTR-10", f"{REFERENCE}; Read Data from a Table")
@pytest.mark.parametrize("body", [{"version": 0}, {"version": 2}, {"timestamp": "2024-01-02T00:00:00Z"},
                                  {"startingVersion": 0}], ids=str)
def test_time_travel_without_shared_history_is_refused(server, no_history, body):
    """Any version of a table whose history is not shared, the newest too, is 400; the table itself is served."""
    server.query(no_history, body).refused(400)
    server.query(no_history).ok()


@rule("TTR-11", REFERENCE, needs=("history", "reference-errors"))
def test_refusals_have_the_words_of_the_reference_server(server, plain, no_history):
    """Messages that clients' tests know: one of the parameters, history not shared."""
    both = server.query(plain, {"version": 1, "timestamp": "2024-01-02T00:00:00Z"}).refused(400)
    assert "Please only provide one of" in both.json["message"]
    closed = server.query(no_history, {"version": 0}).refused(400)
    assert "Reading table by version or timestamp is not supported" in closed.json["message"]
    assert both.json["errorCode"] == closed.json["errorCode"] == "INVALID_PARAMETER_VALUE"


@rule("TTR-12", f"{PROTOCOL} Read Data from a Table", without="history")
def test_a_server_without_time_travel_refuses_it(server, plain):
    """A server without time travel answers 4xx to a version, and not with another version's rows."""
    for body in ({"version": 0}, {"timestamp": "2024-01-01T00:00:00Z"}, {"startingVersion": 0}):
        server.query(plain, body).refused(400, 403, 404)


@rule("TTR-13", f"{PROTOCOL} Read Data from a Table, Data Change Files", needs="history")
@pytest.mark.parametrize("name", ["main.plain", "main.changes", "main.changes_without_files", "logs.checkpoints"])
def test_changes_since_a_version_lead_from_it_to_the_newest(server, truth, fetcher, name):
    """With `startingVersion`, the `add` and `remove` lines of the versions, in order, make the newest rows."""
    table = truth.table(f"alpha.{name}")
    answer = server.query(table, {"startingVersion": 0}).ok()
    assert answer.version == 0 and answer.metadata.get("version", 0) == 0
    live = {}
    for kind, content in sorted(answer.files, key=lambda file: (file[1]["version"], file[0] != "remove")):
        assert kind in ("add", "remove")
        live.pop(content["id"], None)
        if kind == "add":
            live[content["id"]] = content
    found = [row for content in live.values() for row in fetcher.rows_of_file(table, content)]
    assert multiset(found) == table.rows()


@rule("TTR-14", f"{PROTOCOL} Add File, Remove File", needs=("history", "known-timestamps"))
def test_changed_files_say_their_version_and_time(server, truth):
    """`add` and `remove` have `url`, `id`, `partitionValues`, `size`, and `version` and `timestamp` of their commit."""
    table = truth.table("alpha.main.changes_without_files")
    for _, content in server.query(table, {"startingVersion": 0}).ok().files:
        assert content["timestamp"] == table.timestamp(content["version"])
        assert content["url"] and content["id"] and content["size"] > 0 and set(content["partitionValues"]) == {"k"}


@rule("TTR-15", f"{REFERENCE}; Read Data from a Table", needs="history")
def test_a_commit_that_changes_no_rows_is_no_change(server, truth):
    """Files of a compaction, which changes no rows, are not among the changes since a version."""
    table = truth.table("alpha.main.changes")
    found = server.query(table, {"startingVersion": 4}).ok()
    assert {content["version"] for _, content in found.files} == {5, 6}


@rule("TTR-16", f"{PROTOCOL} Read Data from a Table", needs="history")
def test_an_ending_version_ends_the_changes(server, truth):
    """With `endingVersion`, no version up to it is missing (later ones may come: it is a hint)."""
    table = truth.table("alpha.main.changes")
    found = {content["version"] for _, content in
             server.query(table, {"startingVersion": 0, "endingVersion": 2}).ok().files}
    assert {0, 1, 2} <= found


@rule("TTR-17", f"{PROTOCOL} Read Data from a Table", needs="history")
def test_changes_since_a_version_say_when_the_metadata_changed(server, truth):
    """A change of metadata after `startingVersion` is a `metaData` line with its version; the first is the start's."""
    table = truth.table("alpha.main.changes_without_files")
    answer = server.query(table, {"startingVersion": 0}).ok()
    later = [line["metaData"] for line in answer.lines[2:] if "metaData" in line]
    assert list(columns_of(answer)) == ["id", "text", "k"]
    assert [metadata["version"] for metadata in later] == [2] and "more" in later[0]["schemaString"]
    late = server.query(table, {"startingVersion": 2}).ok()
    assert "more" in columns_of(late) and not [line for line in late.lines[2:] if "metaData" in line]


@rule("TTR-18", f"{PROTOCOL} File in Delta Format", needs=("history", "delta-format"))
def test_time_travel_gives_the_same_in_delta_format(server, truth):
    """In Delta format, a version has as many files, and changes since one are wrapped `add` and `remove` actions."""
    table = truth.table("alpha.main.changes")
    for version in table.versions:
        answer = server.query(table, {"version": version}, DELTA).ok()
        assert answer.version == version and len(answer.files) == table.files(version)
    files = server.query(table, {"startingVersion": 0}, DELTA).ok().files
    plain = server.query(table, {"startingVersion": 0}).ok().files
    found = sorted((*content["deltaSingleAction"], content["version"]) for _, content in files)
    assert found == sorted((kind, content["version"]) for kind, content in plain)


@rule("TTR-19", f"{PROTOCOL} Read Data from a Table", needs=("history", "delta-format", "historical-protocol"))
def test_historical_protocols_come_in_delta_format_only(server, truth):
    """`includeHistoricalProtocol` puts a `version` on the first line in Delta format, and changes nothing in
    Parquet."""
    table = truth.table("alpha.main.changes")
    body = {"startingVersion": 1, "includeHistoricalProtocol": True}
    assert server.query(table, body, DELTA).ok().lines[0]["protocol"]["version"] == 1
    assert "version" not in server.query(table, {"startingVersion": 1}, DELTA).ok().lines[0]["protocol"]
    parquet = server.query(table, body).ok()
    assert "version" not in parquet.lines[0]["protocol"]
    assert not [line for line in parquet.lines[1:] if "protocol" in line]


@rule("TTR-20", f"{PROTOCOL} File", needs="history")
def test_a_file_has_one_id_in_every_version(server, plain):
    """A file's `id` is the same in every version that has it, and with `startingVersion`."""
    newest = {content["id"] for _, content in server.query(plain).ok().files}
    for body in ({"version": 0}, {"version": 1}, {"startingVersion": 0}):
        assert {content["id"] for _, content in server.query(plain, body).ok().files} <= newest


@rule("TTR-21", REFERENCE, needs=("history", "reference-errors"))
def test_a_timestamp_outside_the_history_is_refused_in_the_words_of_the_reference_server(server, plain):
    """Messages that clients' tests know: "before the earliest available version" with "greater than or equal to", and
    "is after the latest available version"."""
    early = server.query(plain, {"timestamp": "2000-01-01T00:00:00Z"}).refused(400).json["message"]
    assert "before the earliest available version" in early and "greater than or equal to" in early
    late = server.query(plain, {"timestamp": "2999-01-01T00:00:00Z"}).refused(400).json["message"]
    assert "is after the latest available version" in late
