"""The header by which a client chooses how files are told apart."""

import glob
import hashlib
import json
import os

import pytest

from harness.rules import PROTOCOL, REFERENCE, rule
from harness.server import DELTA

SECTION = f"{PROTOCOL} File ID Hash Header"


def ids(answer):
    """The ids of an answer's files."""
    return sorted(content["id"] for _, content in answer.ok().files)


def logged(truth, table, *kinds):
    """The paths of some kinds of actions, as the commits of a table's log have them."""
    paths = set()
    for name in glob.glob(os.path.join(truth.folder, *table.names, "_delta_log", "*.json")):
        with open(name, encoding="utf-8") as file:
            actions = [json.loads(line) for line in file]
        paths |= {action[kind]["path"] for action in actions for kind in kinds if kind in action}
    return paths


def hashed(scheme, paths):
    """The ids of files by a scheme: lower-case hex, MD5 in `parquet` and SHA-256 in `delta`."""
    make = {"parquet": hashlib.md5, "delta": hashlib.sha256}[scheme]
    return sorted(make(path.encode()).hexdigest() for path in paths)


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


@rule("FID-07", f"{REFERENCE}; File ID Hash Header", needs=("fileidhash", "delta-format"))
@pytest.mark.parametrize("name", ["plain", "partitioned", "partitioned_by_type"])
def test_an_id_is_the_hash_of_the_path_in_the_log(server, truth, name):
    """In the scheme `parquet` an id is the lower-case hex MD5 of the path as the log has it, in `delta` the SHA-256,
    in either format."""
    table = truth.table(f"alpha.main.{name}")
    paths = logged(truth, table, "add")
    for scheme in ("parquet", "delta"):
        for capabilities in (None, DELTA):
            answer = server.query(table, capabilities=capabilities, headers={"fileidhash": scheme})
            assert ids(answer) == hashed(scheme, paths), (scheme, capabilities)


@rule("FID-08", f"{REFERENCE}; File ID Hash Header", needs=("fileidhash", "delta-format"))
def test_without_the_header_the_scheme_is_that_of_the_format(server, truth, plain):
    """Without `fileidhash`, ids are MD5 in Parquet format and SHA-256 in Delta format."""
    paths = logged(truth, plain, "add")
    assert ids(server.query(plain)) == hashed("parquet", paths)
    assert ids(server.query(plain, capabilities=DELTA)) == hashed("delta", paths)


@rule("FID-09", f"{REFERENCE}; File ID Hash Header", needs=("fileidhash", "cdf", "delta-format"))
def test_ids_of_a_feed_are_hashes_of_the_paths_in_the_log(server, truth):
    """The ids of a feed's files, change files too, are the hashes of their paths in the log."""
    table = truth.table("alpha.main.changes")
    paths = logged(truth, table, "add", "remove", "cdc")
    for scheme, capabilities in (("parquet", None), ("delta", DELTA)):
        for headers in ({}, {"fileidhash": "parquet"}, {"fileidhash": "delta"}):
            found = set(ids(server.changes(table, capabilities, headers=headers, startingVersion=0)))
            assert found and found <= set(hashed(headers.get("fileidhash", scheme), paths)), (capabilities, headers)
