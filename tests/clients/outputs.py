"""Writes the same rows in every format that a producer may announce, and the same again damaged.

usage: outputs.py FOLDER
Prints one JSON object an output: {"set", "name", "format", "objects"}; `objects` are files in the folder. A set has the
rows that a recipient must read in `<set>.expected.jsonl` and its declared fields in `<set>.fields.json`; damaged outputs
are of the set `bad`.
"""

import csv
import datetime
import decimal
import gzip
import io
import json
import os
import pathlib
import random
import sys

import pyarrow
import pyarrow.parquet

ROWS = 120
folder = pathlib.Path(sys.argv[1])
chance = random.Random(20260901)
UTC = datetime.timezone.utc

HAZARDS = ["", "plain", 'say "hi"', "a,b;c", "two\nlines", "cr\r\nlf", " padded ", "日本 é 😀", "'", "\\", "\t", '""', "null"]


def field(name, data_type, **more):
    return {"name": name, "dataType": data_type, "fieldType": "SCHEMA", **more}


FLAT = [
    field("id", "NUMBER", isKey=True),
    field("name", "STRING"),
    field("price", "NUMBER"),
    field("sold", "BOOLEAN"),
    field("day", "DATE"),
    field("at", "DATETIME"),
    field("link", "LINK"),
    field("_secret", "STRING"),
    field("internal", "STRING", isPrivate=True),
]
ADDRESS = {"city": "STRING", "zip-code": "STRING", "_geo": "STRING"}
NESTED = [
    field("id", "NUMBER", isKey=True),
    field("seller", "OBJECT", shape={"name": "STRING", "rating": "NUMBER", "since": "DATE", "address": ADDRESS}),
    field(
        "offers",
        "ARRAY",
        shape=[{"sku": "STRING", "price": "MONEY", "at": "DATETIME", "tags": ["STRING"], "_cost": "NUMBER"}],
    ),
]


def maybe(value):
    return None if chance.random() < 0.15 else value


def instant():
    return datetime.datetime(2026, 1, 1, tzinfo=UTC) + datetime.timedelta(microseconds=chance.randrange(10**13))


def stamp(value):
    return None if value is None else value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def iso(value):
    return None if value is None else value.isoformat()


def flat_rows():
    for number in range(ROWS):
        yield {
            "id": number,
            "name": HAZARDS[number % len(HAZARDS)] + ("" if number < 2 * len(HAZARDS) else str(number)),
            "price": maybe(chance.choice([0.1, -1.5, 9.97788185410981e-05, 1e21, 12450.25, chance.random()])),
            "sold": maybe(chance.random() < 0.5),
            "day": maybe(datetime.date(1900, 1, 1) + datetime.timedelta(days=chance.randrange(70_000))),
            "at": maybe(instant()),
            "link": f"https://example.test/?q={number}&x=1,2",
            "_secret": f"planted-{number}",
            "internal": f"planted-{number}",
            "undeclared": f"planted-{number}",
        }


def nested_rows():
    for number in range(ROWS):
        address = {"city": chance.choice(HAZARDS), "zip-code": maybe("0815"), "_geo": "planted"}
        seller = {"name": f"s{number}", "rating": maybe(chance.random()), "since": maybe(instant().date())}
        seller["address"] = maybe(address)
        offer = lambda: {  # noqa: E731
            "sku": maybe(f"sku-{chance.randrange(99)}"),
            "price": maybe({"amount": chance.randrange(10**6), "currencyCode": chance.choice(["USD", "EUR"])}),
            "at": maybe(instant()),
            "tags": maybe([maybe(chance.choice(HAZARDS)) for _ in range(chance.randrange(4))]),
            "_cost": 17,
        }
        offers = maybe([maybe(offer()) for _ in range(chance.randrange(4))])
        yield {"id": number, "seller": maybe(seller), "offers": offers}


def jsonable(value):
    if isinstance(value, datetime.datetime):
        return stamp(value)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: jsonable(inner) for key, inner in value.items()}
    return [jsonable(inner) for inner in value] if isinstance(value, list) else value


def expected_flat(row):
    public = {name: row[name] for name in ("name", "price", "sold", "link")}
    return {**public, "id": float(row["id"]), "day": iso(row["day"]), "at": iso(row["at"])}


def expected_money(value):
    if value is None:
        return None
    amount = decimal.Decimal(value["amount"]).quantize(decimal.Decimal("0.000001"))
    return {"amount": str(amount), "currency_code": value["currencyCode"]}


def expected_nested(row):
    seller, offers = row["seller"], row["offers"]
    if seller is not None:
        address = seller["address"]
        if address is not None:
            address = {"city": address["city"], "zip_code": address["zip-code"]}
        seller = {**seller, "since": iso(seller["since"]), "address": address}

    def offer(value):
        if value is None:
            return None
        price, tags = expected_money(value["price"]), value["tags"]
        return {"sku": value["sku"], "price": price, "at": iso(value["at"]), "tags": tags}

    offers = None if offers is None else [offer(value) for value in offers]
    return {"id": float(row["id"]), "seller": seller, "offers": offers}


MONEY = pyarrow.struct([("amount", pyarrow.int64()), ("currencyCode", pyarrow.string())])
TIME = pyarrow.timestamp("us", "UTC")
TYPES = {
    "id": pyarrow.int64(),
    "price": pyarrow.float64(),
    "sold": pyarrow.bool_(),
    "day": pyarrow.date32(),
    "at": TIME,
    "seller": pyarrow.struct(
        [
            ("name", pyarrow.string()),
            ("rating", pyarrow.float64()),
            ("since", pyarrow.date32()),
            ("address", pyarrow.struct([(key, pyarrow.string()) for key in ADDRESS])),
        ]
    ),
    "offers": pyarrow.list_(
        pyarrow.struct(
            [
                ("sku", pyarrow.string()),
                ("price", MONEY),
                ("at", TIME),
                ("tags", pyarrow.list_(pyarrow.string())),
                ("_cost", pyarrow.int64()),
            ]
        )
    ),
}


def as_jsonl(rows):
    return "".join(json.dumps(jsonable(row)) + "\n" for row in rows).encode()


def as_json(rows):
    return json.dumps([jsonable(row) for row in rows], ensure_ascii=False).encode()


def as_pretty_json(rows):
    return b"\xef\xbb\xbf" + json.dumps([jsonable(row) for row in rows], indent=2).encode()


def as_envelope(rows):
    data = [jsonable(row) for row in rows]
    envelope = {"workflowId": "w", "runId": "r", "executedAt": "2026-09-01T06:07:30Z", "data": data, "extra": {"data": [1]}}
    return json.dumps(envelope).encode()


def as_csv(rows, **how):
    text = io.StringIO(newline="")
    names = list(rows[0])
    writer = csv.writer(text, **how)
    writer.writerow(names)
    for row in rows:
        cells = [jsonable(row[name]) for name in names]
        writer.writerow(["" if c is None else c if isinstance(c, str) else json.dumps(c) for c in cells])
    return text.getvalue().encode()


def as_csv_with_bom(rows):
    return b"\xef\xbb\xbf" + as_csv(rows, lineterminator="\n", quoting=csv.QUOTE_ALL)


def as_parquet(rows):
    names = list(rows[0])
    columns = [pyarrow.array([row[name] for row in rows], TYPES.get(name, pyarrow.string())) for name in names]
    sink = io.BytesIO()
    table = pyarrow.table(columns, names=names)
    pyarrow.parquet.write_table(table, sink, compression="snappy", row_group_size=50)
    return sink.getvalue()


def emit(of, name, announced, contents):
    files = []
    for index, content in enumerate(contents):
        path = folder / f"{of}-{name.replace(' ', '-')}-{index}"
        path.write_bytes(content)
        files.append(path.name)
    print(json.dumps({"set": of, "name": name, "format": announced, "objects": files}))


def good(of, fields, rows, expected, writers):
    (folder / f"{of}.fields.json").write_text(json.dumps(fields))
    (folder / f"{of}.expected.jsonl").write_text("".join(json.dumps(expected(row)) + "\n" for row in rows))
    for name, announced, write in writers:
        whole = write(rows)
        emit(of, name, announced, [whole])
        emit(of, f"{name} gzip", announced, [gzip.compress(whole)])
        parts = [write(rows[:1]), write(rows[1:70]), gzip.compress(write(rows[70:]))]
        emit(of, f"{name} in three objects", announced, parts)


def bad(rows):
    parquet, text, lines = as_parquet(rows), as_csv(rows), as_jsonl(rows)
    half = lambda content: content[: len(content) // 2]  # noqa: E731
    emit("bad", "json truncated", "json", [half(as_json(rows))])
    emit("bad", "json without its end", "json", [as_json(rows)[:-1]])
    emit("bad", "json of another kind", "json", [b'"rows"'])
    emit("bad", "json with more behind it", "json", [as_json(rows) + b"[]"])
    emit("bad", "json of numbers", "json", [b"[1, 2, 3]"])
    emit("bad", "envelope without data", "json", [b'{"workflowId": "w", "rows": [{"id": 1}]}'])
    emit("bad", "envelope with data that is no array", "json", [b'{"data": {"id": 1}}'])
    emit("bad", "csv with a quote left open", "csv", [text + b'7,"open'])
    emit("bad", "csv with a cell too few", "csv", [text + b"7,x\r\n"])
    emit("bad", "csv without a header", "csv", [b"\r\n".join(text.split(b"\r\n")[1:])])
    emit("bad", "csv with a name twice", "csv", [b"id,name,name\r\n1,a,b\r\n"])
    emit("bad", "csv of other text", "csv", [b"id,name\r\n1,\xff\xfe\r\n"])
    emit("bad", "parquet truncated", "parquet", [half(parquet)])
    emit("bad", "parquet with damaged pages", "parquet", [parquet[:8] + bytes(600) + parquet[608:]])
    emit("bad", "parquet that is none", "parquet", [lines])
    emit("bad", "parquet with a type that does not fit", "parquet", [mistyped()])
    emit("bad", "gzip truncated", "jsonl", [half(gzip.compress(lines))])
    emit("bad", "gzip with a wrong checksum", "jsonl", [gzip.compress(lines)[:-8] + bytes(8)])
    emit("bad", "a gzip bomb of one row", "jsonl", [gzip.compress(b'{"name": "' + b"x" * (20 << 20) + b'"}\n')])
    emit("bad", "lines announced as json", "json", [lines])


def mistyped():
    sink = io.BytesIO()
    columns = {"id": pyarrow.array([True, False]), "name": pyarrow.array(["a", "b"])}
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    return sink.getvalue()


def main():
    texts = [("jsonl", "jsonl", as_jsonl), ("json array", "json", as_json), ("envelope", "json", as_envelope)]
    flat, nested = list(flat_rows()), list(nested_rows())
    more = [
        ("pretty json with bom", "json", as_pretty_json),
        ("csv", "csv", as_csv),
        ("csv with bom", "csv", as_csv_with_bom),
        ("parquet", "parquet", as_parquet),
    ]
    good("flat", FLAT, flat, expected_flat, texts + more)
    cells = [("csv", "csv", as_csv), ("parquet", "parquet", as_parquet)]
    good("nested", NESTED, nested, expected_nested, texts + cells)
    bad(flat)


main()
sys.stdout.flush()
# The package's threads may still run when the interpreter takes itself apart, and then it aborts.
os._exit(0)
