"""The official Python client, as its users call it."""

import json

import delta_sharing
import pytest
import requests

from fixtures.values import multiset
from harness.rows import frame_rows, framed
from harness.rules import CLIENT, rule
from harness.times import iso


@pytest.fixture(scope="module")
def profile(server, tmp_path_factory):
    """A profile file."""
    path = tmp_path_factory.mktemp("profile") / "profile.share"
    content = {"shareCredentialsVersion": 1, "endpoint": server.endpoint, "bearerToken": server.token}
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture
def url(server, profile):
    """Makes the client's URL of a table."""
    return lambda table: f"{profile}#" + ".".join(server.renamed(*table.names))


def readable(truth):
    """The tables that the client can read whole in reasonable time."""
    return [table for table in truth.tables.values() if table.names[0] == "alpha" and not truth.missing(table)
            and table.readable and not table.grows and table.files() < 100 and table.names[2] != "line_breaks"]


@rule("PYC-01", CLIENT)
def test_the_client_lists_every_table(server, truth, profile):
    """`list_shares`, `list_schemas`, `list_tables` and `list_all_tables` give every table."""
    client = delta_sharing.SharingClient(profile)
    wanted = {tuple(server.renamed(*table.names)) for table in truth.tables.values()
              if table.names[0] in truth.shares["token"] and not truth.missing(table)}
    found = {(table.share, table.schema, table.name) for table in client.list_all_tables()}
    each = {(table.share, table.schema, table.name) for share in client.list_shares()
            for schema in client.list_schemas(share) for table in client.list_tables(schema)}
    assert found == each and wanted <= found


@rule("PYC-02", CLIENT)
def test_the_client_reads_every_table(truth, url):
    """`load_as_pandas`, which chooses the format itself, gives the rows of every table."""
    for table in readable(truth):
        frame = delta_sharing.load_as_pandas(url(table))
        assert list(frame.columns) == list(table.columns), table
        assert frame_rows(frame) == framed(table.rows()), table


@rule("PYC-03", CLIENT, needs=("delta-format", "presigned-look"))
def test_the_client_reads_plain_tables_in_delta_format(truth, url):
    """`load_as_pandas(use_delta_format=True)` gives the same rows."""
    for table in readable(truth):
        if not table.needs:
            frame = delta_sharing.load_as_pandas(url(table), use_delta_format=True)
            assert frame_rows(frame, table.columns) == framed(table.rows()), table


@rule("PYC-04", CLIENT)
def test_the_client_reads_statistics_with_any_character(truth, url):
    """Statistics with U+2028 and its like do not keep the client from reading a table."""
    table = truth.table("alpha.main.line_breaks")
    assert frame_rows(delta_sharing.load_as_pandas(url(table))) == framed(table.rows())


@rule("PYC-05", CLIENT)
@pytest.mark.parametrize("limit", [0, 1, 100, 150, 300, 1_000])
def test_the_client_gets_as_many_rows_as_it_wants(plain, url, limit):
    """`load_as_pandas(limit=n)` gives n rows, or all."""
    everything = {row["id"] for row in plain.rows()}
    frame = delta_sharing.load_as_pandas(url(plain), limit=limit)
    assert len(frame) == min(limit, 300) and set(frame["id"]) <= everything


@rule("PYC-06", CLIENT, needs=("history", "known-timestamps"))
def test_the_client_travels_in_time(truth, url):
    """`load_as_pandas` with `version` or `timestamp` gives the rows of then."""
    for name in ("main.plain", "logs.checkpoints", "main.changes"):
        table = truth.table(f"alpha.{name}")
        for version in table.versions[::3]:
            wanted = framed(table.rows(version))
            assert frame_rows(delta_sharing.load_as_pandas(url(table), version=version)) == wanted
            at = iso(table.timestamp(version))
            assert frame_rows(delta_sharing.load_as_pandas(url(table), timestamp=at)) == wanted


@rule("PYC-07", CLIENT)
def test_the_client_may_send_hints(truth, url):
    """`jsonPredicateHints` of the client, good or bad, lose none of the rows that match."""
    table = truth.table("alpha.main.partitioned")
    leaf = [{"op": "column", "name": "k", "valueType": "string"},
            {"op": "literal", "value": "a/b", "valueType": "string"}]
    hint = json.dumps({"op": "equal", "children": leaf})
    frame = delta_sharing.load_as_pandas(url(table), jsonPredicateHints=hint)
    found = [row for row in frame_rows(frame) if row["k"] == "a/b"]
    assert found == framed(row for row in table.rows() if row["k"] == "a/b")
    assert len(delta_sharing.load_as_pandas(url(table), jsonPredicateHints="bad-predicates")) == 24


@rule("PYC-08", CLIENT, needs=("cdf", "known-timestamps"))
def test_the_client_reads_a_change_data_feed(truth, url):
    """`load_table_changes_as_pandas` gives the changes of a range of versions or times."""
    table = truth.table("alpha.main.changes")
    for first, last in ((0, None), (2, 3), (5, 6)):
        frame = delta_sharing.load_table_changes_as_pandas(url(table), starting_version=first, ending_version=last)
        assert frame_rows(frame) == framed(table.changes(first, last))
    frame = delta_sharing.load_table_changes_as_pandas(url(table), starting_timestamp=iso(table.timestamp(1)),
                                                       ending_timestamp=iso(table.timestamp(3)))
    assert frame_rows(frame) == framed(table.changes(1, 3))
    grown = truth.table("alpha.main.changes_without_files")
    frame = delta_sharing.load_table_changes_as_pandas(url(grown), starting_version=0)
    assert frame_rows(frame) == framed({**dict.fromkeys(grown.columns), **row} for row in grown.changes(0))


@rule("PYC-09", CLIENT, needs=("cdf", "delta-format", "presigned-look", "known-timestamps"))
def test_the_client_reads_a_change_data_feed_in_delta_format(truth, url):
    """`load_table_changes_as_pandas(use_delta_format=True)` gives the same changes, from any start."""
    table = truth.table("alpha.main.changes")
    for first, last in ((0, None), (2, 3), (5, 6)):
        frame = delta_sharing.load_table_changes_as_pandas(url(table), starting_version=first, ending_version=last,
                                                           use_delta_format=True)
        columns = [*table.columns, "_change_type", "_commit_version"]
        wanted = [{name: row[name] for name in columns} for row in table.changes(first, last)]
        assert frame_rows(frame, columns) == framed(wanted)


@rule("PYC-10", CLIENT)
def test_the_client_asks_for_version_protocol_and_metadata(truth, url):
    """`get_table_version`, `get_table_protocol` and `get_table_metadata` work for every table."""
    for table in readable(truth):
        assert delta_sharing.get_table_version(url(table)) == table.latest
        if not table.needs:
            assert delta_sharing.get_table_protocol(url(table), use_delta_format=False).min_reader_version == 1
            metadata = delta_sharing.get_table_metadata(url(table), use_delta_format=False)
            assert metadata.partition_columns == table.partition_columns


@rule("PYC-11", CLIENT)
def test_the_client_keeps_the_columns_of_an_empty_table(truth, url):
    """An empty table is an empty data frame with its columns."""
    table = truth.table("alpha.main.empty")
    frame = delta_sharing.load_as_pandas(url(table))
    assert (list(frame.columns), len(frame)) == (["id", "name", "score", "flag"], 0)


@rule("PYC-12", CLIENT)
def test_the_client_shows_a_refusal_with_its_message(truth, plain, no_history, url):
    """A refusal is an `HTTPError` with the server's message, at once: clients do not retry 4xx."""
    with pytest.raises(requests.HTTPError, match="400"):
        delta_sharing.load_as_pandas(url(no_history), version=0)
    with pytest.raises(requests.HTTPError, match="404"):
        delta_sharing.load_as_pandas(url(plain) + "_nothing")


@rule("PYC-13", CLIENT, needs=("delta-format", "presigned-look", "deletion-vectors"))
def test_the_client_does_not_see_rows_that_a_deletion_vector_deleted(truth, url):
    """Rows under a deletion vector, inline or in a file, are not in the data frame."""
    for name, gone in (("vectors_inline", {0, 3, 9}), ("vectors_in_file", {1, 2, 8, 100, 69_999})):
        table = truth.table(f"alpha.advanced.{name}")
        found = set(delta_sharing.load_as_pandas(url(table))["id"])
        assert found == {row["id"] for row in table.rows()} and not found & gone
