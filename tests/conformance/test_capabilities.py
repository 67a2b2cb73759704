"""The capabilities header: which format an answer is in, and what the server says of it."""

import pytest

from harness.rules import CLIENT, PROTOCOL, rule
from harness.server import DELTA, EITHER


def form(answer):
    """The format that an answer is in, by its first line."""
    return "delta" if "deltaProtocol" in answer.ok().lines[0]["protocol"] else "parquet"


def asks(server, table, capabilities):
    """The endpoints that read the header, asked with it."""
    yield server.metadata(table, capabilities)
    yield server.query(table, capabilities=capabilities)


def echoed(answer):
    """The format that the answer says that it is in: Parquet, if it says nothing."""
    return answer.capabilities.get("responseformat", "parquet")


@rule("CAP-01", f"{PROTOCOL} responseFormat")
def test_without_the_header_the_answer_is_in_parquet_format(server, plain):
    """A client that says nothing gets Parquet format."""
    for answer in asks(server, plain, None):
        assert (form(answer), echoed(answer)) == ("parquet", "parquet")


@rule("CAP-02", f"{PROTOCOL} responseFormat")
def test_parquet_format_is_given_if_it_is_the_only_one_asked_for(server, plain):
    """`responseformat=parquet` is answered in Parquet format, with reader features or without."""
    for text in ("responseformat=parquet", "responseformat=parquet;readerfeatures=deletionvectors"):
        for answer in asks(server, plain, text):
            assert (form(answer), echoed(answer)) == ("parquet", "parquet")


@rule("CAP-03", f"{PROTOCOL} responseFormat", needs="delta-format")
def test_delta_format_is_given_if_it_is_the_only_one_asked_for(server, plain):
    """`responseformat=delta` is answered in Delta format, and the header of the answer says so."""
    for text in ("responseformat=delta", DELTA):
        for answer in asks(server, plain, text):
            assert (form(answer), echoed(answer)) == ("delta", "delta")


@rule("CAP-04", f"{PROTOCOL} responseFormat")
@pytest.mark.parametrize("text", [EITHER, EITHER.replace("delta,parquet", "parquet,delta")])
def test_of_two_formats_the_header_says_which_was_taken(server, plain, text):
    """With both formats, a plain table comes in either, and the header of the answer says in which."""
    for answer in asks(server, plain, text):
        assert form(answer) == echoed(answer)


@rule("CAP-05", f"{PROTOCOL} Delta Sharing Capabilities Header", needs="delta-format")
@pytest.mark.parametrize("text", ["responseFormat=DELTA", "RESPONSEFORMAT=Delta;READERFEATURES=DeletionVectors",
                                  "readerfeatures=deletionvectors;responseformat=delta", "responseformat=delta;"])
def test_the_header_is_case_insensitive_and_without_order(server, plain, text):
    """Keys and values of the header are read in any case and any order."""
    for answer in asks(server, plain, text):
        assert (form(answer), echoed(answer)) == ("delta", "delta")


@rule("CAP-06", f"{PROTOCOL} Delta Sharing Capabilities Header")
@pytest.mark.parametrize("text", ["", "somethingnew=1", "responseformat", "responseformat=", ";;=;", "a=b=c;d",
                                  "somethingnew=true;responseformat=parquet"])
def test_capabilities_that_are_not_known_are_ignored(server, plain, text):
    """Unknown, empty or malformed capabilities are no error: the answer is in Parquet format."""
    for answer in asks(server, plain, text):
        assert (form(answer), echoed(answer)) == ("parquet", "parquet")


@rule("CAP-07", CLIENT)
def test_a_client_is_told_the_format_for_a_table_in_metadata_and_gets_it(server, plain):
    """The format that metadata says for both formats can be asked for in the query: that is how clients choose."""
    text = "responseformat=delta,parquet;readerfeatures=deletionvectors,columnmapping,timestampntz"
    chosen = echoed(server.metadata(plain, text).ok())
    assert form(server.query(plain, capabilities=f"responseformat={chosen}")) == chosen


@rule("CAP-08", f"{PROTOCOL} responseFormat", needs=("cdf", "delta-format"))
def test_a_change_data_feed_comes_in_the_format_that_is_asked_for(server, truth):
    """`changes` reads the header as well."""
    table = truth.table("alpha.main.changes")
    for text, wanted in ((None, "parquet"), ("responseformat=parquet", "parquet"), (DELTA, "delta")):
        answer = server.changes(table, text, startingVersion=0)
        assert (form(answer), echoed(answer)) == (wanted, wanted)


@rule("CAP-09", f"{PROTOCOL} responseFormat", needs="delta-format")
def test_both_formats_speak_of_the_same_files(server, truth):
    """A table has as many files in one format as in the other, of the same sizes and partition values."""
    for name in ("plain", "partitioned", "partitioned_by_type"):
        table = truth.table(f"alpha.main.{name}")
        parquet = [(content["size"], flat(content["partitionValues"]))
                   for _, content in server.query(table).ok().files]
        adds = [content["deltaSingleAction"]["add"]
                for _, content in server.query(table, capabilities=DELTA).ok().files]
        delta = [(add["size"], flat(add["partitionValues"])) for add in adds]
        assert sorted(parquet) == sorted(delta)


def flat(values):
    """Partition values to compare: null is empty."""
    return sorted((name, text or "") for name, text in values.items())


@rule("CAP-10", f"{PROTOCOL} responseFormat", without="delta-format")
def test_a_server_without_delta_format_answers_in_parquet(server, plain):
    """A server without Delta format answers both formats in Parquet format and does not claim another."""
    for answer in asks(server, plain, EITHER):
        assert (form(answer), echoed(answer)) == ("parquet", "parquet")
