"""Tables that only a reader of the Delta format can read."""

import json

import pytest

from harness.rules import CLIENT, PROTOCOL, REFERENCE, rule
from harness.server import DELTA, EITHER
from test_capabilities import echoed, form

ADVANCED = {"vectors_inline": "deletion-vectors", "vectors_in_file": "deletion-vectors",
            "mapped_by_name": "column-mapping", "mapped_by_id": "column-mapping",
            "mapped_by_name_with_vectors": "column-mapping"}


def each(truth):
    """The advanced tables that are loaded."""
    found = [truth.tables[f"alpha.advanced.{name}"] for name in ADVANCED]
    found = [table for table in found if not truth.missing(table)]
    if not found:
        pytest.skip("no table with deletion vectors or column mapping is loaded")
    return found


def adds(answer):
    """The `add` actions of an answer in Delta format, with their lines."""
    return [(content, content["deltaSingleAction"]["add"]) for _, content in answer.ok().files]


@rule("ADV-01", f"{PROTOCOL} responseFormat", needs="delta-format")
def test_of_two_formats_an_advanced_table_comes_in_delta_format(server, truth):
    """Asked for both formats, a table with deletion vectors or column mapping comes in Delta format, and says so."""
    for table in each(truth):
        for answer in (server.metadata(table, EITHER), server.query(table, capabilities=EITHER)):
            assert (form(answer), echoed(answer)) == ("delta", "delta"), table


@rule("ADV-02", f"{REFERENCE}; responseFormat", needs="delta-format")
def test_an_advanced_table_is_refused_in_parquet_format(server, truth):
    """Asked for Parquet format, or for nothing, such a table is 400: its rows would be wrong."""
    for table in each(truth):
        for text in (None, "responseformat=parquet"):
            server.query(table, capabilities=text).refused(400)


@rule("ADV-03", f"{REFERENCE}; readerFeatures", needs="delta-format")
def test_an_advanced_table_is_refused_to_a_reader_without_its_features(server, truth):
    """A client whose `readerfeatures` lack what the table needs is 400."""
    for table in each(truth):
        for text in ("responseformat=delta", "responseformat=delta;readerfeatures=timestampntz"):
            server.query(table, capabilities=text).refused(400)
        lacking = "columnmapping" if "deletion-vectors" in table.needs else "deletionvectors"
        server.query(table, capabilities=f"responseformat=delta;readerfeatures={lacking}").refused(400)


@rule("ADV-04", REFERENCE, needs=("delta-format", "reference-errors"))
def test_the_refusal_has_the_words_of_the_reference_server(server, truth):
    """The refusal is `UNSUPPORTED_OPERATION` with "Unsupported Delta Table Properties"."""
    for table in each(truth):
        answer = server.query(table).refused(400)
        assert answer.json["errorCode"] == "UNSUPPORTED_OPERATION"
        assert "Unsupported Delta Table Properties" in answer.json["message"]


@rule("ADV-05", f"{PROTOCOL} File in Delta Format", needs=("delta-format", "deletion-vectors"))
def test_a_deletion_vector_in_a_file_has_a_url_and_an_id(server, truth, fetcher):
    """A vector's file becomes storage type `p` with a URL as its path, which can be fetched, and has an id that
    stays."""
    table = truth.table("alpha.advanced.vectors_in_file")
    identifiers = set()
    for _ in range(2):
        for content, add in adds(server.query(table, capabilities=DELTA)):
            vector = add["deletionVector"]
            assert vector["storageType"] == "p" and vector["pathOrInlineDv"].startswith(("http://", "https://"))
            data = fetcher.content(vector["pathOrInlineDv"])
            size = int.from_bytes(data[vector["offset"]:vector["offset"] + 4], "big")
            assert data[0] == 1 and size == vector["sizeInBytes"]
            identifiers.add(content["deletionVectorFileId"])
    assert len(identifiers) == 1


@rule("ADV-06", f"{PROTOCOL} File in Delta Format", needs=("delta-format", "deletion-vectors"))
def test_an_inline_deletion_vector_stays_as_it_is(server, truth):
    """An inline vector is part of the action, as the log has it."""
    table = truth.table("alpha.advanced.vectors_inline")
    [(_, add)] = adds(server.query(table, capabilities=DELTA))
    assert add["deletionVector"]["storageType"] == "i" and add["deletionVector"]["cardinality"] == 3


@rule("ADV-07", f"{PROTOCOL} Protocol in Delta Format", needs="delta-format")
def test_an_advanced_table_says_its_own_protocol(server, truth):
    """In Delta format the protocol line has the table's reader version and features, and its configuration the
    properties."""
    for table in each(truth):
        answer = server.query(table, capabilities=DELTA).ok()
        protocol = answer.lines[0]["protocol"]["deltaProtocol"]
        configuration = answer.metadata["deltaMetadata"]["configuration"]
        assert protocol["minReaderVersion"] in (2, 3)
        features = set(protocol.get("readerFeatures") or [])
        if "deletion-vectors" in table.needs:
            assert "deletionVectors" in features and configuration["delta.enableDeletionVectors"] == "true"
        if "column-mapping" in table.needs:
            assert protocol["minReaderVersion"] == 2 or "columnMapping" in features
            assert configuration["delta.columnMapping.mode"] in ("name", "id")


@rule("ADV-08", "Delta protocol, Column Mapping", needs=("delta-format", "column-mapping"))
def test_column_mapping_keeps_physical_names(server, truth):
    """With column mapping the schema keeps its notes, and partition values stand under the physical names."""
    for name in ("mapped_by_name", "mapped_by_id"):
        table = truth.table(f"alpha.advanced.{name}")
        answer = server.query(table, capabilities=DELTA).ok()
        fields = json.loads(answer.metadata["deltaMetadata"]["schemaString"])["fields"]
        physical = [field["metadata"]["delta.columnMapping.physicalName"] for field in fields]
        assert physical == ["col-1", "col-2", "col-3"]
        assert all(set(add["partitionValues"]) == {"col-3"} for _, add in adds(answer))


@rule("ADV-09", f"{PROTOCOL} Read Data from a Table", needs=("delta-format", "deletion-vectors", "history"))
def test_a_version_before_its_deletion_vector_has_none(server, truth):
    """A file in a version from before its deletion vector comes without it."""
    table = truth.table("alpha.advanced.vectors_inline")
    [(_, add)] = adds(server.query(table, {"version": 0}, DELTA))
    assert "deletionVector" not in add


@rule("ADV-10", CLIENT, needs=("delta-format", "timestamp-ntz"))
def test_timestamps_without_a_zone_come_in_delta_format(server, truth):
    """A table with `timestamp_ntz` comes in Delta format to a client that reads it, with its feature in the
    protocol."""
    table = truth.table("alpha.advanced.timestamp_ntz")
    answer = server.query(table, capabilities=EITHER).ok()
    assert form(answer) == "delta"
    assert "timestampNtz" in answer.lines[0]["protocol"]["deltaProtocol"]["readerFeatures"]
    assert "timestamp_ntz" in answer.metadata["deltaMetadata"]["schemaString"]


@rule("ADV-11", f"{PROTOCOL} readerFeatures", needs="delta-format")
def test_a_plain_table_is_given_to_a_reader_without_features(server, plain):
    """A table without advanced features is given in Delta format to a client that names no reader features."""
    answer = server.query(plain, capabilities="responseformat=delta").ok()
    assert answer.lines[0]["protocol"]["deltaProtocol"]["minReaderVersion"] == 1


@rule("ADV-12", REFERENCE, needs="delta-format")
def test_a_reader_without_features_is_told_a_protocol_without_features(server, truth):
    """A client that names no reader features is told reader version 1, and writer version 2 where the table's is 7 or
    more; another is told the table's own."""
    table = truth.table("alpha.main.writer_features")
    for answer in (server.query(table, capabilities="responseformat=delta"),
                   server.metadata(table, "responseformat=delta")):
        protocol = answer.ok().lines[0]["protocol"]["deltaProtocol"]
        assert {name: value for name, value in protocol.items() if value} \
            == {"minReaderVersion": 1, "minWriterVersion": 2}
    protocol = server.query(table, capabilities=DELTA).ok().lines[0]["protocol"]["deltaProtocol"]
    assert (protocol["minReaderVersion"], protocol["minWriterVersion"]) == (1, 7)
    assert set(protocol["writerFeatures"]) == {"appendOnly", "invariants"}
