"""Queries in pages."""

import json

import pytest

from harness.rules import PROTOCOL, REFERENCE, rule
from harness.server import DELTA, every_page

TAMPERED = [lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"), lambda token: token[:-4],
            lambda token: token[4:], lambda token: "garbage", lambda token: "e30=", lambda token: token + token]
TOKEN_OF_ANOTHER_TABLE = "The table specified in the {} does not match the table being queried."


@pytest.fixture
def table(truth):
    """A table of 22 files."""
    return truth.table("alpha.logs.checkpoints")


def ids(pages):
    """The ids of all files of pages, in order."""
    return [content["id"] for page in pages for _, content in page.files]


def paged(server, table, size, capabilities=None, **body):
    """All pages of a query."""
    return every_page(lambda token: server.query(
        table, {**body, "maxFiles": size, **({"pageToken": token} if token else {})}, capabilities))


@rule("PAG-01", f"{PROTOCOL} EndStreamAction; {REFERENCE}", needs="paging")
@pytest.mark.parametrize("size", [1, 5, 7, 21, 22, 23, 10_000])
def test_pages_together_are_the_whole_answer(server, table, size):
    """The files of all pages are those of one answer without pages, each once."""
    assert sorted(ids(paged(server, table, size))) == sorted(ids([server.query(table).ok()]))


@rule("PAG-02", f"{REFERENCE}; EndStreamAction", needs="paging")
def test_a_page_is_a_whole_answer_with_an_end(server, table):
    """Each page has protocol, metadata, at most `maxFiles` files, and an `endStreamAction` as its last line."""
    pages = paged(server, table, 5)
    for page in pages:
        kinds = [kind for line in page.lines for kind in line]
        assert kinds[:2] == ["protocol", "metaData"] and kinds[-1] == "endStreamAction"
        assert 0 < kinds.count("file") <= 5 and kinds.count("endStreamAction") == 1
        assert page.version == table.latest
    assert all(page.end["nextPageToken"] for page in pages[:-1])
    assert not pages[-1].end.get("nextPageToken")


@rule("PAG-03", f"{REFERENCE}; EndStreamAction", needs="paging")
def test_the_end_says_when_the_first_url_ends(server, table):
    """`minUrlExpirationTimestamp` of a page is the earliest of its files' `expirationTimestamp`."""
    for page in paged(server, table, 10):
        found = [content["expirationTimestamp"] for _, content in page.files if "expirationTimestamp" in content]
        if found and "minUrlExpirationTimestamp" in page.end:
            assert page.end["minUrlExpirationTimestamp"] == min(found)


@rule("PAG-04", REFERENCE, needs="paging")
@pytest.mark.parametrize("change", range(len(TAMPERED)))
def test_a_page_token_that_was_changed_is_refused(server, table, change):
    """A page token that the server did not give in this form is 400."""
    token = server.query(table, {"maxFiles": 5}).ok().end["nextPageToken"]
    server.query(table, {"maxFiles": 5, "pageToken": TAMPERED[change](token)}).refused(400)


@rule("PAG-05", REFERENCE, needs="paging")
def test_a_page_token_of_another_table_is_refused(server, table, truth):
    """A page token is good for its table, and 400 for another."""
    token = server.query(table, {"maxFiles": 5}).ok().end["nextPageToken"]
    for name in ("alpha.main.plain", "alpha.logs.multi_part"):
        server.query(truth.table(name), {"maxFiles": 5, "pageToken": token}).refused(400)


@rule("PAG-06", REFERENCE, needs="paging")
@pytest.mark.parametrize("more", [{"jsonPredicateHints": "{}"}, {"predicateHints": ["id = 1"]}, {"limitHint": 10}],
                         ids=str)
def test_a_page_token_of_another_question_is_refused(server, table, more):
    """The next page must be asked for with the parameters of the first; others are 400."""
    token = server.query(table, {"maxFiles": 5}).ok().end["nextPageToken"]
    server.query(table, {"maxFiles": 5, "pageToken": token, **more}).refused(400)


@rule("PAG-07", REFERENCE, needs=("paging", "history"))
def test_a_page_token_of_another_version_is_refused(server, table):
    """A page token of the newest version is 400 with `version`, and the other way round."""
    token = server.query(table, {"maxFiles": 5}).ok().end["nextPageToken"]
    server.query(table, {"maxFiles": 5, "pageToken": token, "version": 20}).refused(400)
    token = server.query(table, {"maxFiles": 5, "version": 20}).ok().end["nextPageToken"]
    server.query(table, {"maxFiles": 5, "pageToken": token}).refused(400)


@rule("PAG-08", REFERENCE, needs="paging")
@pytest.mark.parametrize("size", [0, -1, "many"])
def test_a_page_size_that_is_not_positive_is_refused(server, table, size):
    """`maxFiles` that is not a positive number is 400."""
    server.query(table, {"maxFiles": size}).refused(400)


@rule("PAG-09", REFERENCE, needs="paging")
def test_a_page_may_be_asked_for_again_and_in_another_size(server, table):
    """A page token may be used twice, with the same result, and with another `maxFiles`."""
    token = server.query(table, {"maxFiles": 5}).ok().end["nextPageToken"]
    first, again = (server.query(table, {"maxFiles": 5, "pageToken": token}).ok() for _ in range(2))
    assert ids([first]) == ids([again])
    assert ids([server.query(table, {"maxFiles": 3, "pageToken": token}).ok()]) == ids([first])[:3]


@rule("PAG-10", f"{PROTOCOL} Read Data from a Table; {REFERENCE}", needs="paging")
def test_pages_keep_to_the_hints(server, truth):
    """With a hint, the pages together are the answer to the hint without pages."""
    table = truth.table("alpha.logs.many_files")
    leaf = [{"op": "column", "name": "n", "valueType": "int"}, {"op": "literal", "value": "30", "valueType": "int"}]
    hint = json.dumps({"op": "lessThan", "children": leaf})
    whole = server.query(table, {"jsonPredicateHints": hint}).ok()
    pages = paged(server, table, 10 if len(whole.files) < 100 else 1_000, jsonPredicateHints=hint)
    assert sorted(ids(pages)) == sorted(ids([whole]))


@rule("PAG-11", REFERENCE, needs=("paging", "history"))
def test_versions_and_changes_come_in_pages_too(server, table):
    """`version` and `startingVersion` can be asked for in pages."""
    for body in ({"version": 18}, {"startingVersion": 3}):
        whole = [(kind, content["id"], content.get("version"))
                 for kind, content in server.query(table, body).ok().files]
        pages = paged(server, table, 4, **body)
        found = [(kind, content["id"], content.get("version")) for page in pages for kind, content in page.files]
        assert sorted(found) == sorted(whole)
        assert all(len(page.files) <= 4 and page.end is not None for page in pages)


@rule("PAG-12", REFERENCE, needs=("paging", "cdf"))
def test_a_change_data_feed_comes_in_pages_too(server, truth):
    """`maxFiles` and `pageToken` of `changes` page it."""
    table = truth.table("alpha.main.changes")
    whole = [content["id"] for _, content in server.changes(table, startingVersion=0).ok().files]
    pages = every_page(lambda token: server.changes(table, startingVersion=0, maxFiles=2, pageToken=token))
    assert ids(pages) == whole and len(pages) > 1
    server.changes(table, startingVersion=1, maxFiles=2, pageToken=pages[0].end["nextPageToken"]).refused(400)
    server.changes(table, startingVersion=0, maxFiles=0).refused(400)


@rule("PAG-13", REFERENCE, needs=("paging", "delta-format"))
def test_pages_come_in_delta_format_too(server, table):
    """In Delta format the pages together are the whole answer."""
    assert sorted(ids(paged(server, table, 5, DELTA))) == sorted(ids([server.query(table, capabilities=DELTA).ok()]))


@rule("PAG-14", f"{PROTOCOL} Read Data from a Table", without="paging")
def test_a_server_without_pages_gives_everything(server, table):
    """A server without pages ignores `maxFiles`: all files, and no `nextPageToken`."""
    answer = server.query(table, {"maxFiles": 1}).ok()
    assert len(answer.files) == table.files() and not (answer.end or {}).get("nextPageToken")


@rule("PAG-15", REFERENCE, needs=("paging", "other-token"))
def test_a_page_token_is_of_no_use_to_another_recipient(server, other, table):
    """A page token does not open a table to a recipient without a grant."""
    token = server.query(table, {"maxFiles": 5}).ok().end["nextPageToken"]
    other.query(table, {"maxFiles": 5, "pageToken": token}).refused(404)


@rule("PAG-16", REFERENCE, needs=("paging", "growing-tables"))
def test_pages_are_of_the_version_of_before_when_the_table_has_grown(server, truth, grow):
    """When a commit has come after the first page, the next ones are of its version; a new query gives the newest."""
    table = truth.table("alpha.growing.growing")
    whole, first = server.query(table).ok(), server.query(table, {"maxFiles": 1}).ok()
    grow(table)
    rest = every_page(lambda token: server.query(
        table, {"maxFiles": 1, "pageToken": token or first.end["nextPageToken"]}))
    assert {page.version for page in [first, *rest]} == {whole.version}
    assert sorted(ids([first, *rest])) == sorted(ids([whole]))
    newest = server.query(table).ok()
    assert newest.version == whole.version + 1 and len(newest.files) == len(whole.files) + 1


@rule("PAG-17", REFERENCE, needs=("paging", "history", "growing-tables"))
def test_pages_of_changes_end_where_they_ended_when_the_table_has_grown(server, truth, grow):
    """When a commit has come after the first page of changes, by `startingVersion` or of a feed, the next ones do not
    have it."""
    table = truth.table("alpha.growing.growing")
    asks = [lambda **page: server.query(table, {"startingVersion": 0, **page})]
    if "cdf" not in truth.absent:
        asks.append(lambda **page: server.changes(table, startingVersion=0, **page))
    begun = [(ask, ask().ok(), ask(maxFiles=1).ok()) for ask in asks]
    grow(table)
    for ask, whole, first in begun:
        rest = every_page(lambda token: ask(maxFiles=1, pageToken=token or first.end["nextPageToken"]))
        assert ids([first, *rest]) == ids([whole])
        assert len(ask().ok().files) == len(whole.files) + 1


@rule("PAG-18", REFERENCE, needs=("paging", "reference-errors"))
def test_refusals_of_a_page_have_the_words_of_the_reference_server(server, table, plain):
    """The messages are "Error decoding the page token", "The table specified in the page token does not match the table
    being queried.", "Query parameter mismatch detected for the next page query" and "maxFiles must be positive"."""
    token = server.query(table, {"maxFiles": 5}).ok().end["nextPageToken"]
    for asked, body, words in (
        (table, {"pageToken": "garbage"}, "Error decoding the page token"),
        (plain, {"pageToken": token}, TOKEN_OF_ANOTHER_TABLE.format("page token")),
        (table, {"pageToken": token, "limitHint": 10}, "Query parameter mismatch detected for the next page query"),
        (table, {"maxFiles": 0}, "maxFiles must be positive"), (table, {"maxFiles": -1}, "maxFiles must be positive"),
    ):
        assert words in server.query(asked, {"maxFiles": 5, **body}).refused(400).json["message"]
