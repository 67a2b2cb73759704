"""Who is asking: tokens, and what each may see."""

import pytest

from harness.rules import PROTOCOL, rule
from test_errors import ENDPOINTS, ask


def every_endpoint(server, names):
    """A request to each endpoint of a share, a schema and a table, well-formed."""
    share, schema, table = server.path(names[0]), server.path(*names[:2]), server.path(*names)
    yield lambda who: who.get(share)
    yield lambda who: who.get(f"{share}/schemas")
    yield lambda who: who.get(f"{share}/all-tables")
    yield lambda who: who.get(f"{schema}/tables")
    for endpoint, method in ENDPOINTS.items():
        yield lambda who, endpoint=endpoint, method=method: ask(who, table, endpoint, method)


ALPHA, BETA = ("alpha", "main", "plain"), ("beta", "main", "other")


@rule("AUT-01", f"{PROTOCOL} REST APIs; RFC 6750")
def test_a_request_without_a_token_is_401_at_every_endpoint(server):
    """Without an `Authorization` header, every endpoint is 401."""
    nobody = server.with_token(None)
    nobody.get("/shares").refused(401)
    for request in every_endpoint(server, ALPHA):
        request(nobody).refused(401)


@rule("AUT-02", f"{PROTOCOL} REST APIs; RFC 6750")
def test_an_unknown_token_is_401_at_every_endpoint(server):
    """With a token that the server does not know, every endpoint is 401."""
    stranger = server.with_token("a-token-that-nobody-ever-had")
    stranger.get("/shares").refused(401)
    for request in every_endpoint(server, ALPHA):
        request(stranger).refused(401)


@rule("AUT-03", f"{PROTOCOL} REST APIs; RFC 6750")
def test_a_token_must_be_whole(server):
    """A part of the token, or the token with more behind it, is 401."""
    for token in (server.token[:-1], server.token + "x", server.token[1:], server.token * 2, ""):
        server.with_token(token).get("/shares").refused(401)


@rule("AUT-04", f"{PROTOCOL} REST APIs; RFC 6750")
def test_a_token_counts_only_as_a_bearer_token(server):
    """The right token under another scheme, or in the URL, is 401."""
    nobody = server.with_token(None)
    for scheme in ("Basic", "Token", ""):
        nobody.get("/shares", headers={"Authorization": f"{scheme} {server.token}".strip()}).refused(401)
    nobody.get("/shares", access_token=server.token, token=server.token).refused(401)


@rule("AUT-05", "RFC 7235 section 2.1")
def test_the_scheme_is_case_insensitive(server):
    """`bearer` and `BEARER` are the scheme `Bearer`."""
    nobody = server.with_token(None)
    for scheme in ("bearer", "BEARER"):
        nobody.get("/shares", headers={"Authorization": f"{scheme} {server.token}"}).ok()


@rule("AUT-06", f"{PROTOCOL} Profile File Format", needs="expired-token")
def test_a_token_that_has_ended_is_401(server, loaded):
    """A token behind its expiration time is 401."""
    server.with_token(loaded.expired_token).get("/shares").refused(401)
    for request in every_endpoint(server, ALPHA):
        request(server.with_token(loaded.expired_token)).refused(401)


@rule("AUT-07", f"{PROTOCOL} Concepts", needs="other-token")
def test_each_recipient_sees_the_shares_of_its_own(server, other, truth):
    """Each token lists the shares that it was granted, and none of another's."""
    for who, name in ((server, "token"), (other, "otherToken")):
        found = {item["name"] for item in who.get("/shares").ok().json.get("items", [])}
        assert found == {server.renamed(share)[0] for share in truth.shares[name] if truth.loaded(share)}


@rule("AUT-08", "OpenSharing design rule; RFC 9110 section 15.5.5", needs="other-token")
def test_a_share_of_another_recipient_is_404_and_not_403(server, other):
    """Every endpoint of a share that was not granted is 404, as if it did not exist."""
    for request in every_endpoint(server, BETA):
        request(server).refused(404)
        assert request(other).status in (200, 400, 404)
    for request in every_endpoint(server, ALPHA):
        request(other).refused(404)


@rule("AUT-09", "OpenSharing design rule", needs="other-token")
def test_the_answer_does_not_tell_whether_a_share_exists(server):
    """A share of another recipient and a share that does not exist get the same answer, but for the name."""
    hidden = server.get(server.path("beta"))
    name = server.renamed("beta")[0]
    nothing = server.get("/shares/" + "x" * len(name))
    assert hidden.status == nothing.status
    assert hidden.text.replace(name, "?") == nothing.text.replace("x" * len(name), "?")


@rule("AUT-10", f"{PROTOCOL} Concepts", needs="other-token")
def test_tables_of_one_name_in_two_shares_are_two_tables(server, other, truth, fetcher):
    """A table's name means the table of its share, even if another share has the same name."""
    for who, name in ((server, "alpha.main.plain"), (other, "beta.main.plain")):
        table = truth.table(name)
        assert fetcher.rows(table, who.query(table).ok()) == table.rows()


@rule("AUT-11", f"{PROTOCOL} REST APIs")
def test_an_error_does_not_repeat_the_token(server):
    """No error repeats a token that was sent."""
    token = "a-token-that-nobody-ever-had"
    answer = server.with_token(token).get("/shares")
    assert token not in answer.text and token not in str(answer.headers)
    assert server.token not in server.get("/shares/nothing").text


@rule("AUT-12", "RFC 6750 section 2; RFC 9112 section 5")
@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer  two  parts", "Bearer a,b", "Bearer " + "x" * 6_000])
def test_a_malformed_header_is_401_and_no_failure(server, value):
    """A malformed `Authorization` header is 401 (400, 431 where it is refused before), never 5xx."""
    answer = server.with_token(None).get("/shares", headers={"Authorization": value.strip()})
    assert answer.status in (400, 401, 431)
