"""Refresh tokens: new URLs for the same files."""

import pytest

from harness.rules import PROTOCOL, REFERENCE, rule
from test_paging import TAMPERED, TOKEN_OF_ANOTHER_TABLE

ISSUE = "delta-io/delta-sharing issue 383; EndStreamAction"


def token_of(server, table):
    """A refresh token, and the answer that it came with."""
    answer = server.query(table, {"includeRefreshToken": True}).ok()
    return answer.end["refreshToken"], answer


def ids(answer):
    """The ids of an answer's files."""
    return sorted(content["id"] for _, content in answer.files)


@rule("REF-01", ISSUE, needs="refresh")
def test_a_refresh_token_comes_in_the_last_line(server, plain):
    """`includeRefreshToken` gives an `endStreamAction` with a `refreshToken` as the last line, behind all files."""
    token, answer = token_of(server, plain)
    assert token and list(answer.lines[-1]) == ["endStreamAction"]
    assert ids(answer) == ids(server.query(plain).ok())
    found = [content["expirationTimestamp"] for _, content in answer.files if "expirationTimestamp" in content]
    assert not found or answer.end["minUrlExpirationTimestamp"] == min(found)


@rule("REF-02", ISSUE, needs="refresh")
def test_a_refresh_gives_the_same_files_without_shared_history(server, plain, no_history, fetcher):
    """A `refreshToken` gives the same files at the same version, also where history is not shared."""
    for table in (plain, no_history):
        token, answer = token_of(server, table)
        refreshed = server.query(table, {"refreshToken": token}).ok()
        assert (ids(refreshed), refreshed.version) == (ids(answer), answer.version)
        for _, content in refreshed.files:
            assert len(fetcher.content(content["url"])) == content["size"]


@rule("REF-03", ISSUE, needs="refresh")
def test_a_refresh_can_ask_for_the_next_token(server, plain):
    """A refresh with `includeRefreshToken` gives a token again."""
    token, answer = token_of(server, plain)
    again = server.query(plain, {"refreshToken": token, "includeRefreshToken": True}).ok()
    assert ids(server.query(plain, {"refreshToken": again.end["refreshToken"]}).ok()) == ids(answer)


@rule("REF-04", REFERENCE, needs="refresh")
@pytest.mark.parametrize("change", range(len(TAMPERED)))
def test_a_refresh_token_that_was_changed_is_refused(server, plain, change):
    """A refresh token that the server did not give in this form is 400."""
    token, _ = token_of(server, plain)
    server.query(plain, {"refreshToken": TAMPERED[change](token)}).refused(400)


@rule("REF-05", REFERENCE, needs="refresh")
def test_a_refresh_token_of_another_table_is_refused(server, plain, no_history):
    """A refresh token is good for its table, and 400 for another."""
    token, _ = token_of(server, plain)
    server.query(no_history, {"refreshToken": token}).refused(400)


@rule("REF-06", REFERENCE, needs=("refresh", "history"))
@pytest.mark.parametrize("pinned", [{"version": 1}, {"timestamp": "2024-01-02T00:00:00Z"}, {"startingVersion": 0}],
                         ids=str)
def test_refreshing_is_for_the_newest_version_only(server, plain, pinned):
    """`includeRefreshToken` or `refreshToken` together with a version is 400."""
    token, _ = token_of(server, plain)
    server.query(plain, {"includeRefreshToken": True, **pinned}).refused(400)
    server.query(plain, {"refreshToken": token, **pinned}).refused(400)


@rule("REF-07", REFERENCE, needs=("refresh", "paging"))
def test_refreshing_begins_with_the_first_page(server, plain):
    """`includeRefreshToken` or `refreshToken` with `pageToken` is 400, and neither token passes for the other."""
    token, _ = token_of(server, plain)
    page = server.query(plain, {"maxFiles": 1}).ok().end["nextPageToken"]
    server.query(plain, {"includeRefreshToken": True, "pageToken": page, "maxFiles": 1}).refused(400)
    server.query(plain, {"refreshToken": token, "pageToken": page, "maxFiles": 1}).refused(400)
    server.query(plain, {"refreshToken": page}).refused(400)
    server.query(plain, {"pageToken": token, "maxFiles": 1}).refused(400)


@rule("REF-08", f"{PROTOCOL} EndStreamAction", without="refresh")
def test_a_server_without_refresh_tokens_gives_none(server, plain):
    """A server without refresh tokens ignores the wish: all files, and no `refreshToken`."""
    answer = server.query(plain, {"includeRefreshToken": True}).ok()
    assert len(answer.files) == plain.files() and not (answer.end or {}).get("refreshToken")


@rule("REF-09", ISSUE, needs=("refresh", "other-token"))
def test_a_refresh_token_is_of_no_use_to_another_recipient(server, other, plain):
    """A refresh token does not open a table to a recipient without a grant."""
    token, _ = token_of(server, plain)
    other.query(plain, {"refreshToken": token}).refused(404)


@rule("REF-10", ISSUE, needs=("refresh", "growing-tables"))
@pytest.mark.parametrize("name", ["growing", "growing_no_history"])
def test_a_refresh_is_of_the_version_of_before_when_the_table_has_grown(server, truth, grow, name):
    """When a commit has come, a refresh gives the files and the version of the first answer, also where history is not
    shared, and so does the next token; a new query gives the newest."""
    table = truth.table(f"alpha.growing.{name}")
    token, answer = token_of(server, table)
    grow(table)
    refreshed = server.query(table, {"refreshToken": token, "includeRefreshToken": True}).ok()
    again = server.query(table, {"refreshToken": refreshed.end["refreshToken"]}).ok()
    for found in (refreshed, again):
        assert (ids(found), found.version) == (ids(answer), answer.version)
    newest = server.query(table).ok()
    assert newest.version == answer.version + 1 and set(ids(newest)) > set(ids(answer))


@rule("REF-11", REFERENCE, needs=("refresh", "reference-errors"))
def test_refusals_of_a_refresh_token_have_the_words_of_the_reference_server(server, plain, no_history):
    """The messages are "Error decoding the refresh token" and "The table specified in the refresh token does not match
    the table being queried."."""
    broken = server.query(plain, {"refreshToken": "garbage"}).refused(400)
    assert "Error decoding the refresh token" in broken.json["message"]
    token, _ = token_of(server, plain)
    foreign = server.query(no_history, {"refreshToken": token}).refused(400)
    assert TOKEN_OF_ANOTHER_TABLE.format("refresh token") in foreign.json["message"]
