"""Asynchronous queries."""

import uuid

import pytest

from harness.rules import PROTOCOL, REFERENCE, rule
from harness.server import every_page

ASKED = "asyncquery=true"
POLLS_MAX = 200


def submit(server, table, **body):
    """Submits a query, and gives the answer."""
    body.setdefault("idempotencyKey", str(uuid.uuid4()))
    return server.query(table, body, ASKED)


def poll(server, table, query, **body):
    """Asks for the state of a query once."""
    return server.request("POST", f"{server.path(*table.names)}/queries/{query}", body=body)


def status(answer):
    """The `queryStatus` of an answer, or nothing."""
    return answer.ok().lines[0].get("queryStatus")


def result(server, table, query, **body):
    """Polls until there is a result."""
    for _ in range(POLLS_MAX):
        answer = poll(server, table, query, **body)
        if not status(answer):
            return answer
        assert status(answer)["status"] == "pending", status(answer)
    raise AssertionError(f"the query is pending after {POLLS_MAX} polls")


@rule("ASY-01", f"{PROTOCOL} asyncQuery", needs="async")
def test_a_submitted_query_is_one_line_with_its_id(server, plain):
    """With `asyncquery=true` the answer is one `queryStatus` line with a `queryId`, and the capability is echoed."""
    answer = submit(server, plain).ok()
    assert [list(line) for line in answer.lines] == [["queryStatus"]]
    assert answer.capabilities["asyncquery"] == "true"
    assert status(answer)["queryId"] and status(answer)["status"] in ("pending", "failed")


@rule("ASY-02", f"{PROTOCOL} Get Query Info", needs="async")
def test_the_result_is_the_answer_of_the_query(server, plain):
    """Once it is done, polling gives what the query gives at once, with the version in the header."""
    answer = result(server, plain, status(submit(server, plain))["queryId"])
    whole = server.query(plain).ok()
    assert answer.version == whole.version and answer.lines[:2] == whole.lines[:2]
    assert sorted(content["id"] for _, content in answer.files) == sorted(content["id"] for _, content in whole.files)


@rule("ASY-03", f"{PROTOCOL} asyncQuery", needs="async")
def test_a_retried_submission_is_the_same_query(server, plain):
    """The same `idempotencyKey` for the same table and parameters gives the same `queryId`; another key another one."""
    first, again = (status(submit(server, plain, idempotencyKey="one key"))["queryId"] for _ in range(2))
    assert first == again != status(submit(server, plain, idempotencyKey="another key"))["queryId"]


@rule("ASY-04", f"{PROTOCOL} Get Query Info", needs="async")
def test_an_unknown_query_is_404(server, plain, no_history):
    """A `queryId` that is unknown, or of another table, is 404."""
    query = status(submit(server, plain))["queryId"]
    poll(server, plain, "no-such-query").refused(404)
    poll(server, no_history, query).refused(404)


@rule("ASY-05", REFERENCE, needs="async")
def test_a_submission_without_a_key_is_refused(server, plain):
    """An asynchronous query without `idempotencyKey` is 400."""
    server.query(plain, {}, ASKED).refused(400)


@rule("ASY-06", f"{PROTOCOL} Get Query Info", needs="async")
def test_a_result_comes_in_pages(server, truth):
    """`maxFiles` and `pageToken` page a result as they page a query."""
    table = truth.table("alpha.logs.checkpoints")
    query = status(submit(server, table))["queryId"]
    result(server, table, query)
    pages = every_page(lambda token: poll(server, table, query, maxFiles=9, **({"pageToken": token} if token else {})))
    found = sorted(content["id"] for page in pages for _, content in page.files)
    assert found == sorted(content["id"] for _, content in server.query(table).ok().files)
    assert len(pages) == 3


@rule("ASY-07", f"{PROTOCOL} Concepts", needs=("async", "other-token"))
def test_a_query_of_another_recipient_is_404(server, other, plain):
    """A `queryId` is of no use to another recipient."""
    query = status(submit(server, plain))["queryId"]
    poll(other, plain, query).refused(404)


@rule("ASY-08", f"{PROTOCOL} asyncQuery", without="async")
def test_a_server_without_asynchronous_queries_answers_at_once(server, plain):
    """A server without the capability answers the query itself, and does not echo `asyncquery=true`."""
    answer = submit(server, plain).ok()
    assert len(answer.files) == plain.files() and answer.capabilities.get("asyncquery") != "true"


@rule("ASY-09", f"{PROTOCOL} asyncQuery")
@pytest.mark.parametrize("text", [None, "asyncquery=false"])
def test_a_query_that_is_not_asynchronous_is_answered_at_once(server, plain, text):
    """Without `asyncquery=true`, an `idempotencyKey` changes nothing: the files come at once."""
    answer = server.query(plain, {"idempotencyKey": "one key"}, text).ok()
    assert len(answer.files) == plain.files() and answer.capabilities.get("asyncquery") != "true"
