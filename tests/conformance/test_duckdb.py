"""DuckDB on the URLs: a second engine, which knows nothing of sharing."""

import datetime

import duckdb
from fsspec.implementations.http import HTTPFileSystem

from fixtures.values import multiset, rows_of
from harness.rules import CLIENT, PROTOCOL, rule


class Http(HTTPFileSystem):
    """Plain HTTP, with the time of change that DuckDB asks for."""

    def modified(self, path):
        """A time that never changes: nor do the files."""
        return datetime.datetime.fromtimestamp(0, datetime.timezone.utc)


def read(urls):
    """The rows of files, through DuckDB and plain HTTP."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register_filesystem(Http())
    query = "SELECT * FROM read_parquet(?, union_by_name = true, hive_partitioning = false)"
    return connection.sql(query, params=[urls]).to_arrow_table()


def urls(server, table):
    """The URLs of a table's files."""
    return [content["url"] for _, content in server.query(table).ok().files]


@rule("DDB-01", f"{PROTOCOL} File", needs="range-requests")
def test_duckdb_reads_the_urls_of_a_table(server, truth):
    """DuckDB's `read_parquet` on the URLs gives the rows of the table."""
    for name in ("plain", "evolved", "changes"):
        table = truth.table(f"alpha.main.{name}")
        assert multiset(rows_of(read(urls(server, table)))) == table.rows()


@rule("DDB-02", f"{PROTOCOL} File", needs="range-requests")
def test_duckdb_reads_values_at_the_edges_of_their_types(server, truth):
    """DuckDB reads the same numbers, decimals, dates and times as the table has."""
    table = truth.table("alpha.main.types")
    found = read(urls(server, table))
    assert multiset(rows_of(found)) == table.rows()


@rule("DDB-03", f"{CLIENT}; Partition Value Serialization", needs="range-requests")
def test_duckdb_reads_files_whose_paths_hold_odd_characters(server, truth):
    """DuckDB reads every file of a partitioned table by its URL."""
    table = truth.table("alpha.main.partitioned")
    found = read(urls(server, table)).column("id").to_pylist()
    assert sorted(found) == sorted(row["id"] for row in table.rows())
