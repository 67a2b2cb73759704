"""The line that tells an answer that is whole from one that was cut."""

import pytest

from harness.rules import PROTOCOL, rule
from harness.server import DELTA

ASKED = "includeendstreamaction=true"


def asks(server, truth, capabilities):
    """Answers of each endpoint that reads the capability."""
    plain = truth.table("alpha.main.plain")
    yield server.metadata(plain, capabilities).ok()
    yield server.query(plain, capabilities=capabilities).ok()
    yield server.query(truth.table("alpha.main.empty"), capabilities=capabilities).ok()
    if "history" not in truth.absent:
        yield server.query(plain, {"version": 1}, capabilities).ok()
        yield server.query(plain, {"startingVersion": 0}, capabilities).ok()
    if "cdf" not in truth.absent:
        yield server.changes(truth.table("alpha.main.changes"), capabilities, startingVersion=0).ok()


def ends(answer):
    """Where the `endStreamAction` lines are, from the end."""
    return [number - len(answer.lines) for number, line in enumerate(answer.lines) if "endStreamAction" in line]


@rule("EOS-01", f"{PROTOCOL} includeEndStreamAction")
def test_a_promised_end_is_the_last_line(server, truth):
    """If the answer's header says `includeendstreamaction=true`, its last line is the one `endStreamAction`; else
    there is none."""
    for answer in asks(server, truth, ASKED):
        promised = answer.capabilities.get("includeendstreamaction") == "true"
        assert ends(answer) == ([-1] if promised else [])


@rule("EOS-02", f"{PROTOCOL} includeEndStreamAction", needs="end-of-stream")
@pytest.mark.parametrize("text", [ASKED, "includeEndStreamAction=TRUE", f"{DELTA};{ASKED}"])
def test_a_query_that_asks_for_an_end_gets_it(server, plain, text):
    """`includeEndStreamAction=true`, in any case and either format, is honoured by a query and echoed."""
    answer = server.query(plain, capabilities=text).ok()
    assert answer.capabilities["includeendstreamaction"] == "true" and ends(answer) == [-1]
    assert not answer.end.get("nextPageToken") and not answer.end.get("errorMessage")


@rule("EOS-03", f"{PROTOCOL} includeEndStreamAction")
@pytest.mark.parametrize("text", [None, "includeendstreamaction=false", "responseformat=parquet",
                                  "includeendstreamaction=perhaps"])
def test_an_end_that_nobody_asked_for_does_not_come(server, truth, text):
    """Without `includeEndStreamAction=true` there is no `endStreamAction`, and the header promises none."""
    for answer in asks(server, truth, text):
        assert ends(answer) == [] and answer.capabilities.get("includeendstreamaction") != "true"


@rule("EOS-04", f"{PROTOCOL} EndStreamAction", needs="end-of-stream")
def test_the_end_knows_the_first_url_to_end(server, truth):
    """`minUrlExpirationTimestamp` is the earliest of the files' `expirationTimestamp`, in milliseconds."""
    for answer in asks(server, truth, ASKED):
        found = [content["expirationTimestamp"] for _, content in answer.files if "expirationTimestamp" in content]
        if answer.end and found and "minUrlExpirationTimestamp" in answer.end:
            assert answer.end["minUrlExpirationTimestamp"] == min(found)


@rule("EOS-05", f"{PROTOCOL} EndStreamAction")
def test_the_end_has_fields_of_its_own_only(server, truth):
    """An `endStreamAction` has tokens and messages as text and an expiration as a number."""
    for answer in asks(server, truth, ASKED):
        for name, value in (answer.end or {}).items():
            assert value is None or isinstance(value, int if name == "minUrlExpirationTimestamp" else (str, int)), name


@rule("EOS-06", f"{PROTOCOL} includeEndStreamAction", without="end-of-stream")
def test_a_server_without_the_end_does_not_promise_it(server, truth):
    """A server that ignores the capability does not echo `true`."""
    for answer in asks(server, truth, ASKED):
        assert answer.capabilities.get("includeendstreamaction") != "true" and ends(answer) == []
