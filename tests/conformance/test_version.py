"""The version of a table."""

import datetime

import pytest

from harness.rules import PROTOCOL, REFERENCE, rule
from harness.times import iso


@rule("VER-01", f"{PROTOCOL} Query Table Version")
def test_the_version_is_in_the_header_and_the_body_is_empty(server, truth):
    """`GET …/version` gives the current version of each table in `Delta-Table-Version`, and no body."""
    for table in truth.tables.values():
        if table.names[0] == "alpha" and table.readable and not table.grows and not truth.missing(table):
            answer = server.version(table).ok()
            assert (answer.version, answer.text) == (table.latest, ""), table


@rule("VER-02", f"{PROTOCOL} Query Table Version", needs="head-version")
def test_head_of_a_table_gives_the_version_too(server, plain):
    """The deprecated `HEAD …/tables/{table}` gives the same header."""
    answer = server.request("HEAD", server.path(*plain.names)).ok()
    assert (answer.version, answer.text) == (plain.latest, "")


@rule("VER-03", f"{PROTOCOL} Query Table Version", needs="history")
def test_a_starting_timestamp_before_the_first_version_gives_the_first(server, truth, plain):
    """`startingTimestamp` earlier than version 0 gives 0."""
    assert server.version(plain, startingTimestamp="2000-01-01T00:00:00Z").ok().version == 0


@rule("VER-04", f"{PROTOCOL} Query Table Version", needs=("history", "known-timestamps"))
def test_a_starting_timestamp_gives_the_first_version_at_or_after_it(server, plain):
    """`startingTimestamp` gives the earliest version whose commit is at or after it."""
    for version in plain.versions:
        at = plain.timestamp(version)
        assert server.version(plain, startingTimestamp=iso(at)).ok().version == version
        assert server.version(plain, startingTimestamp=iso(at - 1)).ok().version == version
        if version < plain.latest:
            assert server.version(plain, startingTimestamp=iso(at + 1)).ok().version == version + 1


@rule("VER-05", f"{REFERENCE}; Query Table Version", needs="history")
def test_a_starting_timestamp_after_the_last_version_is_refused(server, plain):
    """`startingTimestamp` behind the last commit is 400: there is no such version."""
    server.version(plain, startingTimestamp="2999-01-01T00:00:00Z").refused(400)


@rule("VER-06", f"{PROTOCOL} Timestamp Format", needs="history")
@pytest.mark.parametrize("text", ["yesterday", "2024-13-01T00:00:00Z", "2024-01-01T25:00:00Z", "1704067200000", ""])
def test_a_starting_timestamp_that_is_no_time_is_refused(server, plain, text):
    """`startingTimestamp` in another form than ISO 8601 is 400."""
    server.version(plain, startingTimestamp=text).refused(400)


@rule("VER-07", f"{REFERENCE}; Timestamp Format", needs=("history", "known-timestamps", "timestamp-offsets"))
def test_a_timestamp_may_have_an_offset(server, plain):
    """A request's time with an offset is the same instant as in UTC."""
    at = datetime.datetime.fromtimestamp(plain.timestamp(1) / 1000, datetime.timezone(datetime.timedelta(hours=2)))
    assert server.version(plain, startingTimestamp=at.isoformat()).ok().version == 1


@rule("VER-08", f"{REFERENCE}; Query Table Version")
def test_a_starting_timestamp_without_shared_history_is_refused(server, no_history):
    """`startingTimestamp` for a table whose history is not shared is 400."""
    server.version(no_history, startingTimestamp="2000-01-01T00:00:00Z").refused(400)


@rule("VER-09", f"{PROTOCOL} Query Table Version", needs=("history", "known-timestamps"))
def test_a_starting_timestamp_before_a_cleaned_log_gives_what_is_left(server, truth):
    """With the first commits cleaned up, `startingTimestamp` gives no version that is gone."""
    table = truth.table("alpha.logs.cleaned")
    answer = server.version(table, startingTimestamp="2000-01-01T00:00:00Z").ok()
    assert answer.version in (table.earliest, table.earliest + 1)


@rule("VER-10", REFERENCE, needs=("history", "reference-errors"))
def test_refusals_of_a_starting_timestamp_have_the_words_of_the_reference_server(server, plain, no_history):
    """Messages that clients' tests know: "Invalid startingTimestamp:", a time after the last version, history not
    shared."""
    for table, text, words in (
        (plain, "randomTimestamp", "Invalid startingTimestamp:"),
        (plain, "2999-01-01T00:00:00Z", "is after the latest available version"),
        (no_history, "2000-01-01T00:00:00Z", "Reading table by version or timestamp is not supported"),
    ):
        answer = server.version(table, startingTimestamp=text).refused(400)
        assert words in answer.json["message"] and answer.json["errorCode"] == "INVALID_PARAMETER_VALUE"
