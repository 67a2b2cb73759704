"""The header by which a client chooses how files are told apart."""

import pytest

from harness.rules import PROTOCOL, rule
from harness.server import DELTA

SECTION = f"{PROTOCOL} File ID Hash Header"


def ids(answer):
    """The ids of an answer's files."""
    return sorted(content["id"] for _, content in answer.ok().files)


@rule("FID-01", SECTION, needs="fileidhash")
@pytest.mark.parametrize("value", ["parquet", "delta", "PARQUET", "Delta"])
def test_the_scheme_is_echoed_in_lower_case(server, plain, value):
    """A valid `fileidhash`, in any case, is echoed in lower case."""
    assert server.query(plain, headers={"fileidhash": value}).ok().headers["fileidhash"] == value.lower()


@rule("FID-02", SECTION, needs="fileidhash")
@pytest.mark.parametrize("value", ["md5", "", "parquet,delta", "none"])
def test_another_scheme_is_refused(server, plain, value):
    """Any other `fileidhash`, a blank one too, is 400."""
    server.query(plain, headers={"fileidhash": value}).refused(400)


@rule("FID-03", SECTION, needs=("fileidhash", "delta-format"))
def test_a_scheme_gives_the_same_ids_in_both_formats(server, plain):
    """A file's id by one scheme is the same in Parquet and in Delta format, and in each answer."""
    for scheme in ("parquet", "delta"):
        asked = {"fileidhash": scheme}
        assert ids(server.query(plain, headers=asked)) == ids(server.query(plain, capabilities=DELTA, headers=asked))
        assert ids(server.query(plain, headers=asked)) == ids(server.query(plain, headers=asked))


@rule("FID-04", SECTION, needs=("fileidhash", "cdf", "history"))
def test_the_feed_reads_the_header_too(server, truth):
    """`changes` echoes `fileidhash`, gives the ids of its scheme, and refuses others."""
    table = truth.table("alpha.main.changes_without_files")
    for scheme in ("parquet", "delta"):
        asked = {"fileidhash": scheme}
        answer = server.changes(table, headers=asked, startingVersion=0).ok()
        assert answer.headers["fileidhash"] == scheme
        assert ids(answer) == ids(server.query(table, {"startingVersion": 0}, headers=asked))
    server.changes(table, headers={"fileidhash": "md5"}, startingVersion=0).refused(400)


@rule("FID-05", SECTION)
def test_without_the_header_nothing_is_echoed(server, plain):
    """An answer to a request without `fileidhash` does not have it."""
    assert "fileidhash" not in server.query(plain).ok().headers


@rule("FID-06", SECTION, without="fileidhash")
def test_a_server_without_the_header_does_not_claim_it(server, plain):
    """A server that does not know `fileidhash` does not echo it, by which clients see that."""
    answer = server.query(plain, headers={"fileidhash": "delta"})
    assert "fileidhash" not in answer.headers
