"""What a table says of itself."""

import json

import pytest

from harness.rules import PROTOCOL, REFERENCE, rule
from harness.server import DELTA
from harness.times import iso


def simple(truth):
    """The loaded tables that any reader can read."""
    return [table for table in truth.tables.values()
            if table.names[0] == "alpha" and table.names[1] in ("main", "logs") and not truth.missing(table)]


def fields(schema_string):
    """The columns of a schema, in order."""
    schema = json.loads(schema_string)
    assert schema["type"] == "struct"
    return schema["fields"]


@rule("MET-01", f"{PROTOCOL} Query Table Metadata")
def test_metadata_is_two_lines_of_ndjson(server, plain):
    """`GET …/metadata` gives two lines, `protocol` and `metaData`, as `application/x-ndjson; charset=utf-8`."""
    answer = server.metadata(plain).ok()
    assert [list(line) for line in answer.lines] == [["protocol"], ["metaData"]]
    assert answer.headers["Content-Type"].lower().replace(" ", "") == "application/x-ndjson;charset=utf-8"


@rule("MET-02", f"{PROTOCOL} Query Table Metadata")
def test_metadata_has_the_version_in_its_header(server, truth):
    """`Delta-Table-Version` of metadata is the current version."""
    for table in simple(truth):
        assert server.metadata(table).ok().version == table.latest, table


@rule("MET-03", f"{PROTOCOL} Protocol")
def test_the_protocol_asks_for_reader_version_1(server, truth):
    """In Parquet format the protocol line is `minReaderVersion` 1, whatever the table's own is."""
    for table in simple(truth):
        assert server.metadata(table).ok().lines[0]["protocol"]["minReaderVersion"] == 1, table


@rule("MET-04", f"{PROTOCOL} Metadata, Schema Object")
def test_the_schema_has_every_column_with_its_type_in_order(server, truth):
    """`schemaString` is a struct of all columns, partition columns too, in order, with their types."""
    for table in simple(truth):
        schema = server.metadata(table).ok().metadata["schemaString"]
        found = [(field["name"], field["type"]) for field in fields(schema)]
        assert json.loads(json.dumps(without_notes(found))) == [list(pair) for pair in table.columns.items()], table


def without_notes(kind):
    """A type without the metadata of its inner fields, which are the table's own affair."""
    if isinstance(kind, (list, tuple)):
        return [without_notes(inner) for inner in kind]
    if isinstance(kind, dict):
        return {name: {} if name == "metadata" else without_notes(inner) for name, inner in kind.items()}
    return kind


@rule("MET-05", f"{PROTOCOL} Metadata")
def test_partition_columns_are_a_list_that_may_be_empty(server, truth):
    """`partitionColumns` is there for every table: an empty list without partitions."""
    for table in simple(truth):
        assert server.metadata(table).ok().metadata["partitionColumns"] == table.partition_columns, table


@rule("MET-06", f"{PROTOCOL} Metadata, Format")
def test_metadata_has_an_id_and_the_format_parquet(server, plain):
    """`id` is a text that stays, and `format.provider` is `parquet`."""
    first, second = server.metadata(plain).ok().metadata, server.metadata(plain).ok().metadata
    assert isinstance(first["id"], str) and first["id"] and first["id"] == second["id"]
    assert first["format"]["provider"] == "parquet"


@rule("MET-07", f"{REFERENCE}; Struct Field")
def test_field_metadata_is_comments_only(server, truth):
    """In Parquet format a field's metadata has its comment and nothing that is for writers."""
    table = truth.table("alpha.main.types")
    found = {field["name"]: field["metadata"] for field in fields(server.metadata(table).ok().metadata["schemaString"])}
    assert found["id"] == {"comment": "a comment that readers see"}
    assert not any(found[name] for name in found if name != "id")


@rule("MET-08", f"{REFERENCE}; Metadata", needs="cdf")
def test_the_configuration_says_whether_there_is_a_change_data_feed(server, truth):
    """In Parquet format `configuration` is `enableChangeDataFeed` where a feed is shared, and else empty or absent."""
    for table in simple(truth):
        found = server.metadata(table).ok().metadata.get("configuration") or {}
        wanted = {"enableChangeDataFeed": "true"} if table.history and table.facts["changeDataFeed"] else {}
        assert found == wanted, table


@rule("MET-09", f"{PROTOCOL} Metadata")
def test_size_and_number_of_files_are_right_if_given(server, truth):
    """`size` and `numFiles` are optional, and right where they are given."""
    for name in ("plain", "partitioned", "evolved", "changes"):
        table = truth.table(f"alpha.main.{name}")
        metadata, files = server.metadata(table).ok().metadata, server.query(table).ok().files
        assert metadata.get("numFiles", table.files()) == table.files(), table
        total = sum(content["size"] for _, content in files)
        assert metadata.get("size", total) == total, table


@rule("MET-10", f"{PROTOCOL} Metadata in Delta Format", needs="delta-format")
def test_in_delta_format_the_actions_of_the_log_are_wrapped(server, truth):
    """In Delta format the lines hold `deltaProtocol` and `deltaMetadata`, which a Delta reader can read."""
    for table in simple(truth):
        answer = server.metadata(table, DELTA).ok()
        protocol, metadata = answer.lines[0]["protocol"]["deltaProtocol"], answer.metadata["deltaMetadata"]
        assert protocol["minReaderVersion"] >= 1
        assert [field["name"] for field in fields(metadata["schemaString"])] == list(table.columns), table
        assert metadata["partitionColumns"] == table.partition_columns
        assert metadata["format"]["provider"] == "parquet" and metadata["id"]


@rule("MET-11", f"{PROTOCOL} Query Table Metadata", needs=("history", "metadata-version"))
def test_metadata_of_a_version_is_that_versions(server, truth):
    """`version` gives the schema of that version, and its number in the header."""
    table = truth.table("alpha.main.evolved")
    for version, names in ((0, ["a"]), (1, ["a", "b"]), (2, ["a", "b", "c"])):
        answer = server.metadata(table, version=version).ok()
        assert [field["name"] for field in fields(answer.metadata["schemaString"])] == names
        assert answer.version == version


@rule("MET-12", f"{PROTOCOL} Query Table Metadata", needs=("history", "metadata-version", "known-timestamps"))
def test_metadata_of_a_time_is_that_of_the_version_then(server, truth):
    """`timestamp` gives the metadata of the version that was current then."""
    table = truth.table("alpha.main.evolved")
    for version in (0, 1):
        assert server.metadata(table, timestamp=iso(table.timestamp(version) + 1_000)).ok().version == version


@rule("MET-13", f"{PROTOCOL} Query Table Metadata", needs=("history", "metadata-version"))
@pytest.mark.parametrize("parameters", [
    {"version": 0, "timestamp": "2024-01-01T00:00:00Z"}, {"version": -1}, {"version": "one"},
    {"timestamp": "yesterday"},
], ids=str)
def test_metadata_of_no_version_is_refused(server, plain, parameters):
    """Both parameters together, or one that cannot name a version, are 400."""
    server.metadata(plain, **parameters).refused(400)


@rule("MET-17", f"{PROTOCOL} Query Table Metadata", needs=("history", "metadata-version"))
@pytest.mark.parametrize("parameters", [{"version": 1_000_000}, {"timestamp": "1999-01-01T00:00:00Z"}], ids=str)
def test_metadata_of_a_version_that_is_not_there_is_refused(server, plain, parameters):
    """A version after the newest one, or a time before the first, is 400 or 404."""
    server.metadata(plain, **parameters).refused(400, 404)


@rule("MET-14", f"{PROTOCOL} Query Table Metadata", needs="metadata-version")
def test_metadata_of_a_version_without_shared_history_is_refused(server, no_history):
    """`version` and `timestamp` for a table whose history is not shared are 400."""
    server.metadata(no_history, version=0).refused(400)
    server.metadata(no_history, timestamp="2024-01-02T00:00:00Z").refused(400)


@rule("MET-15", f"{PROTOCOL} Query Table Metadata, Read Data from a Table")
def test_metadata_says_what_the_query_says(server, truth):
    """The first two lines of a query of the newest version are the lines of its metadata."""
    for table in simple(truth):
        if table.files() < 100:
            assert server.query(table).ok().lines[:2] == server.metadata(table).ok().lines, table


@rule("MET-16", f"{PROTOCOL} Access Modes")
def test_access_modes_are_those_of_the_list(server, plain):
    """`accessModes` of metadata are those of the list of tables; without them a table has `url`."""
    listed = {item["name"]: item for item in server.get(server.path(*plain.names[:2]) + "/tables").ok().json["items"]}
    metadata = server.metadata(plain).ok().metadata
    if "accessModes" in metadata:
        assert set(metadata["accessModes"]) == set(listed[server.renamed(*plain.names)[2]].get("accessModes", ["url"]))
    assert "url" in metadata.get("accessModes", ["url"])
