"""From an answer's lines to rows: the files are fetched by plain HTTP and read with pyarrow, as any engine does."""

import io
import json
import re

import pyarrow.parquet as parquet
import requests

from fixtures.values import multiset, partition_value, plain

#: A time with its zone.
TIME = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})Z$")


class Fetcher:
    """Fetches files, each once: a file's id is the same in every answer, and its content never changes."""

    def __init__(self):
        self.session, self.kept = requests.Session(), {}
        self.session.trust_env = False

    def content(self, url):
        """The bytes at a URL."""
        response = self.session.get(url, timeout=60)
        assert response.status_code == 200, f"{response.status_code} for {url}: {response.text[:500]}"
        return response.content

    def records(self, table, identifier, url):
        """The rows of a file."""
        key = (table.name, identifier)
        if key not in self.kept:
            self.kept[key] = parquet.ParquetFile(io.BytesIO(self.content(url))).read().to_pylist()
        return self.kept[key]

    def rows_of_file(self, table, content, columns=None):
        """The rows of a file line in Parquet format: what is in the file, and its partition values."""
        columns = table.columns if columns is None else columns
        partition = {name: partition_value(text, columns[name]) for name, text in content["partitionValues"].items()}
        return [{name: partition[name] if name in partition else plain(record.get(name)) for name in columns}
                for record in self.records(table, content["id"], content["url"])]

    def rows(self, table, answer, columns=None):
        """All rows of an answer in Parquet format, in an order of their own."""
        columns = columns or columns_of(answer)
        return multiset(row for _, content in answer.files for row in self.rows_of_file(table, content, columns))

    def changes(self, table, answer):
        """All row changes of an answer in Parquet format, in an order of their own."""
        found = []
        for kind, content in answer.files:
            rows = self.rows_of_file(table, content)
            records = self.records(table, content["id"], content["url"])
            for row, record in zip(rows, records):
                change = record["_change_type"] if kind == "cdf" else {"add": "insert", "remove": "delete"}[kind]
                found.append({**row, "_change_type": change, "_commit_version": content["version"],
                              "_commit_timestamp": content["timestamp"]})
        return multiset(found)


def columns_of(answer):
    """The columns that an answer in Parquet format speaks of, with their types."""
    return {field["name"]: field["type"] for field in json.loads(answer.metadata["schemaString"])["fields"]}


def frame_cell(value):
    """A value as a data frame can have it.

    pandas has no null for numbers: NaN is null, and whole numbers beside a null are floats, exact up to 2^53. Times
    of partition columns have no zone.
    """
    if value == "nan":
        return None
    if isinstance(value, list):
        return [frame_cell(inner) for inner in value]
    if isinstance(value, dict):
        return {name: frame_cell(inner) for name, inner in value.items()}
    if isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer():
        return int(float(value))
    return TIME.sub(r"\1", value) if isinstance(value, str) else value


def frame_rows(frame, columns=None):
    """The rows of a data frame, in an order of their own."""
    names = list(frame.columns) if columns is None else list(columns)
    rows = frame[names].itertuples(index=False, name=None)
    return multiset(dict(zip(names, map(frame_cell, map(plain, row)))) for row in rows)


def framed(rows):
    """Rows of the truth as `frame_rows` gives them."""
    return multiset({name: frame_cell(value) for name, value in row.items()} for row in rows)
