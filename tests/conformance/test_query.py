"""The files of a table, and the rows in them."""

import datetime
import json
import operator
import re

import pytest

from fixtures.values import partition_value
from harness.rows import columns_of
from harness.rules import CLIENT, PROTOCOL, REFERENCE, rule
from test_metadata import simple

#: Tables whose rows are read whole; the others are too many files for every run.
SMALL = 100


@rule("QRY-01", f"{PROTOCOL} Read Data from a Table")
def test_a_query_is_protocol_metadata_and_files(server, plain):
    """A query gives a `protocol` line, a `metaData` line, and then one line per file, as NDJSON."""
    answer = server.query(plain).ok()
    assert [list(line) for line in answer.lines] == [["protocol"], ["metaData"]] + [["file"]] * plain.files()
    assert answer.headers["Content-Type"].lower().replace(" ", "") == "application/x-ndjson;charset=utf-8"


@rule("QRY-02", f"{PROTOCOL} Read Data from a Table")
def test_a_query_has_the_current_version_in_its_header(server, truth):
    """`Delta-Table-Version` of a query without time travel is the current version."""
    for table in simple(truth):
        assert server.query(table, {"limitHint": 1}).ok().version == table.latest, table


@rule("QRY-03", f"{PROTOCOL} Read Data from a Table")
def test_the_files_hold_exactly_the_rows_of_the_table(server, truth, fetcher):
    """The rows in the files, with the partition values of the lines, are the rows of the table: all, and once."""
    for table in simple(truth):
        if table.files() < SMALL:
            assert fetcher.rows(table, server.query(table).ok()) == table.rows(), table


@rule("QRY-04", CLIENT)
def test_all_files_of_a_large_table_come_in_one_answer(server, truth):
    """Without `maxFiles`, one answer has every file, however many there are: clients do not page."""
    table = truth.table("alpha.logs.many_files")
    answer = server.query(table).ok()
    assert sorted(int(content["partitionValues"]["n"]) for _, content in answer.files) == list(range(3_000))
    assert answer.end is None


@rule("QRY-05", f"{PROTOCOL} File")
def test_a_file_has_a_url_an_id_partition_values_and_a_size(server, truth):
    """`url`, `id`, `partitionValues` and `size` are in every file line, with their types."""
    for table in simple(truth):
        for _, content in server.query(table).ok().files:
            assert isinstance(content["url"], str) and content["url"].startswith(("http://", "https://"))
            assert isinstance(content["id"], str) and content["id"]
            assert set(content["partitionValues"]) == set(table.partition_columns), table
            assert type(content["size"]) is int and content["size"] > 0
            assert content.get("stats") is None or isinstance(json.loads(content["stats"]), dict)


@rule("QRY-06", f"{PROTOCOL} File")
def test_ids_are_of_one_file_each_and_stay(server, truth):
    """A file's `id` is its own within the table, and the same in every answer."""
    for table in simple(truth):
        first, second = ([content["id"] for _, content in server.query(table).ok().files] for _ in range(2))
        assert len(set(first)) == len(first) and sorted(first) == sorted(second), table


@rule("QRY-07", f"{PROTOCOL} File")
def test_the_size_is_the_size_of_the_file(server, truth, fetcher):
    """`size` is the number of bytes behind the URL."""
    for name in ("plain", "partitioned", "types"):
        table = truth.table(f"alpha.main.{name}")
        for _, content in server.query(table).ok().files:
            assert len(fetcher.content(content["url"])) == content["size"], table


@rule("QRY-08", f"{PROTOCOL} Partition Value Serialization")
def test_partition_values_are_serialised_as_the_protocol_says(server, truth):
    """Dates are `yyyy-MM-dd`, times `yyyy-MM-dd HH:mm:ss[.ffffff]`, truths `true` or `false`, null is empty or null."""
    forms = {"i": r"-?\d+", "l": r"-?\d+", "b": r"true|false", "d": r"\d{4}-\d\d-\d\d", "m": r"-?\d+\.\d+",
             "t": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z",
             "f": r"-?\d+(\.\d+)?([eE]-?\d+)?"}
    table = truth.table("alpha.main.partitioned_by_type")
    found = []
    for _, content in server.query(table).ok().files:
        values = content["partitionValues"]
        for name, text in values.items():
            assert text in (None, "") or re.fullmatch(forms[name], text), (name, text)
        found.append(json.dumps({name: partition_value(values[name], table.columns[name]) for name in forms}))
    wanted = [json.dumps({name: row[name] for name in forms}) for row in table.rows()]
    assert sorted(found) == sorted(wanted)


@rule("QRY-09", f"{PROTOCOL} Partition Value Serialization")
def test_partition_values_of_text_need_no_translation(server, truth):
    """A partition value of type string is as it was written: spaces, slashes, per cent signs and all."""
    table = truth.table("alpha.main.partitioned")
    found = {content["partitionValues"]["k"] or None for _, content in server.query(table).ok().files}
    assert found == {row["k"] for row in table.rows()}


@rule("QRY-10", f"{PROTOCOL} Per-file Statistics")
def test_statistics_are_true_of_the_rows(server, truth, fetcher):
    """If there are `stats`, their counts are exact, and no value lies outside the bounds (times: by a millisecond)."""
    for name in ("plain", "types", "predicates", "evolved"):
        table = truth.table(f"alpha.main.{name}")
        answer = server.query(table).ok()
        for _, content in answer.files:
            if content.get("stats"):
                judge(json.loads(content["stats"]), fetcher.rows_of_file(table, content, columns_of(answer)),
                      table.columns)


def judged(value, kind):
    """A value of a row, or a bound, so that the two can be compared."""
    if kind.startswith("decimal"):
        return float(value)
    if kind == "timestamp":
        return datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    return value


def judge(stats, rows, columns):
    """Compares the statistics of a file with its rows."""
    assert stats.get("numRecords", len(rows)) == len(rows)
    for name, count in stats.get("nullCount", {}).items():
        if isinstance(columns[name], str):
            assert sum(row[name] is None for row in rows) == count, name
    for bound, holds in (("minValues", operator.ge), ("maxValues", operator.le)):
        for name, edge in (stats.get(bound) or {}).items():
            if edge is None or not isinstance(columns[name], str) or columns[name] == "binary":
                continue
            edge = judged(edge, columns[name])
            if columns[name] == "timestamp" and bound == "maxValues":
                edge += datetime.timedelta(milliseconds=1)
            for row in rows:
                if row[name] is not None and row[name] not in ("nan", "inf", "-inf"):
                    assert holds(judged(row[name], columns[name]), edge), (name, bound, row[name], edge)


@rule("QRY-11", f"{PROTOCOL} File", needs="expiration")
def test_expiration_timestamps_are_milliseconds_ahead(server, plain):
    """`expirationTimestamp` is in milliseconds, later than now, and not later than a week from now."""
    import time
    for _, content in server.query(plain).ok().files:
        ahead = content["expirationTimestamp"] - time.time() * 1000
        assert 0 < ahead <= 7 * 86_400_000


@rule("QRY-12", CLIENT)
def test_nothing_but_files_follows_in_an_answer_to_a_plain_query(server, truth):
    """Without being asked for, no `endStreamAction` and no other kind of line comes: clients fail on it."""
    for table in simple(truth):
        assert {kind for line in server.query(table).ok().lines[2:] for kind in line} <= {"file"}, table


@rule("QRY-13", CLIENT)
def test_lines_break_at_newlines_only(server, truth):
    """No line holds a raw U+2028, U+2029, U+0085 or the like, at which clients that read Unicode text break lines."""
    table = truth.table("alpha.main.line_breaks")
    text = server.query(table).ok().text
    assert len(text.splitlines()) == len(text.rstrip("\n").split("\n"))


@rule("QRY-14", f"{REFERENCE}; Read Data from a Table", needs="history")
def test_whole_numbers_may_come_as_text(server, plain):
    """64-bit numbers of the body may be JSON numbers or text."""
    assert server.query(plain, {"version": "1"}).ok().version == 1


@rule("QRY-15", f"{PROTOCOL} Read Data from a Table")
@pytest.mark.parametrize("limit", [0, 1, 99, 100, 101, 250, 300, 1_000, 2**31 - 1])
def test_a_limit_hint_leaves_enough_rows(server, plain, fetcher, limit):
    """With `limitHint` n the files hold n rows or more, or all; zero is legal."""
    rows = fetcher.rows(plain, server.query(plain, {"limitHint": limit}).ok())
    everything = {row["id"] for row in plain.rows()}
    assert len(rows) >= min(limit, 300)
    assert {row["id"] for row in rows} <= everything


@rule("QRY-16", f"{PROTOCOL} Read Data from a Table")
def test_a_content_type_is_not_needed(server, plain):
    """The `Content-Type` of the request is optional."""
    answer = server.request("POST", server.path(*plain.names) + "/query", data="{}")
    assert len(answer.ok().files) == plain.files()


@rule("QRY-17", "RFC 9110 section 12.5.3")
@pytest.mark.parametrize("encoding", ["identity", "gzip", "gzip;q=0, identity", None])
def test_the_answer_is_the_same_in_every_encoding(server, plain, encoding):
    """Whatever `Accept-Encoding` says, the lines are the same and can be decoded."""
    answer = server.query(plain, headers={"Accept-Encoding": encoding})
    assert len(answer.ok().files) == plain.files()
    assert encoding != "identity" or answer.headers.get("Content-Encoding", "identity") == "identity"


@rule("QRY-18", f"{PROTOCOL} Metadata")
def test_columns_that_came_later_are_null_before(server, truth, fetcher):
    """The schema is the newest one, also for files from before a column was added."""
    table = truth.table("alpha.main.evolved")
    answer = server.query(table).ok()
    assert list(columns_of(answer)) == ["a", "b", "c"]
    assert fetcher.rows(table, answer) == table.rows()


@rule("QRY-19", f"{PROTOCOL} Read Data from a Table")
def test_a_table_without_files_has_two_lines(server, truth):
    """A query of an empty table gives protocol and metadata, with the schema, and no file."""
    answer = server.query(truth.table("alpha.main.empty")).ok()
    assert [list(line) for line in answer.lines] == [["protocol"], ["metaData"]]
    assert list(columns_of(answer)) == ["id", "name", "score", "flag"]


@rule("QRY-20", f"{PROTOCOL} File in Delta Format", needs="delta-format")
def test_in_delta_format_each_file_is_an_add_action_with_a_url_as_its_path(server, truth):
    """In Delta format a file line has an `id` and `deltaSingleAction.add`, whose `path` is the URL."""
    from harness.server import DELTA
    for name in ("plain", "partitioned", "types", "empty"):
        table = truth.table(f"alpha.main.{name}")
        answer = server.query(table, capabilities=DELTA).ok()
        assert len(answer.files) == table.files()
        for kind, content in answer.files:
            assert kind == "file" and content["id"] and list(content["deltaSingleAction"]) == ["add"]
            add = content["deltaSingleAction"]["add"]
            assert add["path"].startswith(("http://", "https://")) and add["size"] > 0
            assert set(add["partitionValues"]) == set(table.partition_columns)
            assert "dataChange" in add and "modificationTime" in add


@rule("QRY-21", f"{PROTOCOL} Read Data from a Table")
@pytest.mark.parametrize("name", ["checkpoints", "multi_part", "v2_json", "v2_parquet", "cleaned", "no_pointer"])
def test_a_checkpoint_of_any_kind_gives_the_same_rows(server, truth, fetcher, name):
    """A table is read right through a classic, a multi-part or a V2 checkpoint, also when older commits are gone."""
    table = truth.table(f"alpha.logs.{name}")
    assert fetcher.rows(table, server.query(table).ok()) == table.rows()


@rule("QRY-22", f"{PROTOCOL} Read Data from a Table")
def test_commits_of_megabytes_are_read_whole(server, truth, fetcher):
    """A table is read right from commits of several megabytes; a file that was entered again is told once."""
    table = truth.table("alpha.logs.large_commits")
    answer = server.query(table).ok()
    assert len(answer.files) == table.files()
    assert fetcher.rows(table, answer) == table.rows()
