"""Hints: a server may leave out files, and must never lose a row."""

import datetime
import itertools
import json
import math
import struct

import pytest

from fixtures.values import key
from harness import predicates
from harness.rules import PROTOCOL, REFERENCE, rule

COUNT = 120


@pytest.fixture
def table(truth):
    """The table that predicates are tried on."""
    return truth.table("alpha.main.predicates")


def lost(server, fetcher, table, body, passes):
    """The rows that pass a predicate and are in no file of the answer."""
    found = {key(row) for row in fetcher.rows(table, server.query(table, body).ok())}
    return [row for row in table.rows() if passes(row) and key(row) not in found]


def column(name, kind):
    """A column."""
    return {"op": "column", "name": name, "valueType": kind}


def literal(value, kind):
    """A literal."""
    return {"op": "literal", "value": value, "valueType": kind}


def op(name, *children):
    """An operation."""
    return {"op": name, "children": list(children)}


@rule("HNT-01", f"{PROTOCOL} JSON predicates for Filtering")
def test_json_hints_on_partition_columns_lose_no_row(server, table, fetcher):
    """Whatever `jsonPredicateHints` say of partition columns, every row that passes is in a returned file."""
    for predicate in predicates.json_predicates(1, COUNT, ["p", "q", "r"]):
        text = predicates.as_json(predicate)
        passes = lambda row: predicates.holds(predicate, row) is True
        assert lost(server, fetcher, table, {"jsonPredicateHints": text}, passes) == [], text


@rule("HNT-02", f"{PROTOCOL} JSON predicates for Filtering, Per-file Statistics")
def test_json_hints_on_any_column_lose_no_row(server, table, fetcher):
    """The same for predicates on any column, where a server may use statistics, which can be cut, absent or all
    null."""
    for predicate in predicates.json_predicates(2, COUNT):
        text = predicates.as_json(predicate)
        passes = lambda row: predicates.holds(predicate, row) is True
        assert lost(server, fetcher, table, {"jsonPredicateHints": text}, passes) == [], text


@rule("HNT-03", f"{PROTOCOL} SQL Expressions for Filtering")
def test_sql_hints_lose_no_row(server, table, fetcher):
    """Whatever `predicateHints` say, every row that passes all of them is in a returned file."""
    for number, nodes in enumerate(predicates.sql_predicates(3, COUNT)):
        negated = number % 2
        texts = [predicates.as_sql(node, negated) for node in nodes]
        nodes = [op("not", node) if negated and node["op"] == "isNull" else node for node in nodes]
        passes = lambda row: all(predicates.holds(node, row) is True for node in nodes)
        assert lost(server, fetcher, table, {"predicateHints": texts}, passes) == [], texts


@rule("HNT-04", "delta-io/delta-sharing issue 651; JSON predicates for Filtering")
@pytest.mark.parametrize("name,kind,value", [("i", "int", "5"), ("s", "string", "apple"), ("p", "int", "1"),
                                             ("d", "double", "0.5"), ("b", "bool", "true")])
def test_the_negation_of_an_equality_keeps_files_that_hold_other_values(server, table, fetcher, name, kind, value):
    """`not(equal(…))` leaves out a file only if no value in it can be another one."""
    hint = json.dumps(op("not", op("equal", column(name, kind), literal(value, kind))))
    plain = {"int": int, "string": str, "double": float, "bool": lambda text: text == "true"}[kind](value)
    passes = lambda row: row[name] is not None and row[name] != plain
    assert lost(server, fetcher, table, {"jsonPredicateHints": hint}, passes) == []


@rule("HNT-05", f"{PROTOCOL} Per-file Statistics")
def test_bounds_of_timestamps_are_good_to_a_millisecond_only(server, table, fetcher):
    """Statistics cut times to milliseconds: a row a few microseconds behind the maximum is not lost."""
    hint = json.dumps(op("greaterThan", column("ts", "timestamp"), literal("2021-01-01T00:00:00.000998Z", "timestamp")))
    passes = lambda row: row["ts"] is not None and row["ts"] > "2021-01-01T00:00:00.000998Z"
    assert lost(server, fetcher, table, {"jsonPredicateHints": hint}, passes) == []
    hint = ["ts > '2021-01-01T00:00:00.000998Z'"]
    assert lost(server, fetcher, table, {"predicateHints": hint}, passes) == []


@rule("HNT-06", f"{PROTOCOL} Read Data from a Table")
@pytest.mark.parametrize("hint", [
    "bad-predicates", "", "{", "[]", "null", "5", '{"op":"in","children":[]}', '{"op":"equal"}', "{}",
    '{"op":"equal","children":[]}', json.dumps(op("not")),
    json.dumps(op("equal", column("nothing", "int"), literal("5", "int"))),
    json.dumps(op("equal", column("p", "int"), literal("five", "int"))),
    json.dumps(op("equal", column("p", "number"), literal("5", "number"))),
    json.dumps(op("startsWith", column("q", "string"), literal("a", "string"))),
], ids=range(15))
def test_json_hints_that_cannot_be_understood_leave_every_file(server, table, hint):
    """`jsonPredicateHints` that are malformed, or of unknown operations, columns or types, are 200 with all files."""
    everything = {content["id"] for _, content in server.query(table).ok().files}
    found = {content["id"] for _, content in server.query(table, {"jsonPredicateHints": hint}).ok().files}
    assert found == everything


@rule("HNT-13", f"{PROTOCOL} JSON predicates for Filtering")
@pytest.mark.parametrize("hint", [
    op("equal", column("p", "int"), literal("1", "string")), op("equal", column("p", "string"), literal("1", "string")),
    op("and", op("equal", column("p", "int"), literal("1", "int"))),
    op("equal", column("P", "int"), literal("1", "int")),
    op("equal", column("p", "int"), literal(1, "int")), op("equal", column("p", "long"), literal("1", "long")),
    op("or", op("equal", column("p", "int"), literal("1", "int")), op("like", column("q", "string"))),
    op("and", op("equal", column("p", "int"), literal("1", "int")), op("like", column("q", "string"))),
], ids=range(8))
def test_json_hints_that_can_be_doubted_lose_no_file_that_may_match(server, table, hint):
    """Hints of mixed types, other cases of names, or with one part unknown, are 200 and keep the files that may
    match."""
    files = {content["id"] for _, content in server.query(table).ok().files if content["partitionValues"]["p"] == "1"}
    found = {content["id"] for _, content in server.query(table, {"jsonPredicateHints": json.dumps(hint)}).ok().files}
    assert files and files <= found


@rule("HNT-07", f"{PROTOCOL} SQL Expressions for Filtering")
@pytest.mark.parametrize("hint", ["", "bad-predicates", "p = ", "nothing = 1", "p IN (1, 2)", "p = 'one'",
                                  "1 = 1; DROP TABLE t", "(p = 1", "'", "p = 1 OR p = 2", "\x00"])
def test_sql_hints_that_cannot_be_understood_are_no_error(server, table, hint):
    """`predicateHints` that the server does not understand are 200 and skipped; nothing that may pass is lost."""
    everything = server.query(table).ok().files
    found = {content["id"] for _, content in server.query(table, {"predicateHints": [hint]}).ok().files}
    clear = {"p IN (1, 2)": ("1", "2"), "p = 1 OR p = 2": ("1", "2"), "(p = 1": ("1",)}.get(hint)
    possible = {content["id"] for _, content in everything if not clear or content["partitionValues"]["p"] in clear}
    assert possible <= found


@rule("HNT-08", f"{REFERENCE}; Read Data from a Table")
def test_json_hints_without_measure_are_no_error(server, table):
    """A predicate of a thousand levels, or of a thousand alternatives, is 200 and loses no file that may match."""
    inner = op("equal", column("p", "int"), literal("1", "int"))
    files = {content["id"] for _, content in server.query(table).ok().files if content["partitionValues"]["p"] == "1"}
    deep = inner
    for _ in range(1_000):
        deep = op("not", deep)
    wide = op("or", *[op("equal", column("p", "int"), literal(str(n), "int")) for n in range(1_000)])
    nested = '{"op":"not","children":[' * 20_000
    for hint in (json_text(deep), json.dumps(wide), nested):
        found = {content["id"] for _, content in server.query(table, {"jsonPredicateHints": hint}).ok().files}
        assert files <= found


def json_text(node):
    """JSON of a node that is too deep for a recursive writer: each level has one child."""
    head, tail = "", ""
    while node["op"] == "not":
        head, tail, node = head + '{"op":"not","children":[', "]}" + tail, node["children"][0]
    return head + json.dumps(node) + tail


@rule("HNT-09", f"{PROTOCOL} Read Data from a Table")
def test_predicates_come_before_the_limit(server, table, fetcher):
    """With predicates and `limitHint`, the limit counts rows of files that the predicates leave."""
    hint = json.dumps(op("equal", column("p", "int"), literal("3", "int")))
    for body in ({"jsonPredicateHints": hint}, {"predicateHints": ["p = 3"]}):
        rows = fetcher.rows(table, server.query(table, {**body, "limitHint": 2}).ok())
        assert len([row for row in rows if row["p"] == 3]) == 2


@rule("HNT-10", f"{PROTOCOL} JSON predicates for Filtering", needs="skipping")
def test_a_json_hint_on_a_partition_column_leaves_files_out(server, truth):
    """A server that uses hints answers an equality on a partition column with the files of that partition."""
    table = truth.table("alpha.logs.many_files")
    hint = json.dumps(op("equal", column("n", "int"), literal("1234", "int")))
    files = server.query(table, {"jsonPredicateHints": hint}).ok().files
    assert [content["partitionValues"] for _, content in files] == [{"n": "1234"}]


@rule("HNT-11", f"{PROTOCOL} JSON predicates for Filtering")
def test_an_equality_on_a_partition_column_finds_its_partition(server, truth, fetcher):
    """An equality with each partition value, hostile ones too, finds the rows of that partition."""
    table = truth.table("alpha.main.partitioned")
    for value in {row["k"] for row in table.rows()}:
        hint = op("isNull", column("k", "string")) if value is None \
            else op("equal", column("k", "string"), literal(value, "string"))
        passes = lambda row: row["k"] == value
        assert lost(server, fetcher, table, {"jsonPredicateHints": json.dumps(hint)}, passes) == [], value


@rule("HNT-12", f"{PROTOCOL} Read Data from a Table", needs="delta-format")
def test_hints_leave_the_same_files_in_delta_format(server, table):
    """A hint leaves the same number of files in both formats."""
    from harness.server import DELTA
    hint = {"jsonPredicateHints": json.dumps(op("equal", column("p", "int"), literal("1", "int")))}
    assert len(server.query(table, hint, DELTA).ok().files) == len(server.query(table, hint).ok().files)


@pytest.fixture
def typed(truth):
    """The table that hints of doubtful types are tried on."""
    return truth.table("alpha.main.hint_types")


def lost_by_comparisons(server, fetcher, table, name, kinds, texts, passes):
    """What comparisons of a column with literals, and their negations, lose of the rows that pass. `kinds` are the
    types that the hint says of the column and of the literal."""
    found = []
    for text in texts:
        for operation in ("equal", "lessThanOrEqual", "greaterThanOrEqual"):
            comparison = op(operation, column(name, kinds[0]), literal(text, kinds[1]))
            for negated in (False, True):
                holds = lambda left, right: predicates.OPERATORS[operation][1](left, right) != negated
                hint = json.dumps(op("not", comparison) if negated else comparison)
                wanted = lambda row: row[name] is not None and passes(holds, row[name], text)
                found += [(hint, row) for row in lost(server, fetcher, table, {"jsonPredicateHints": hint}, wanted)]
    return found


def number(value, kind):
    """A number as one of 32 or of 64 bits."""
    if kind == "double":
        return float(value)
    try:
        return struct.unpack("f", struct.pack("f", float(value)))[0]
    except OverflowError:
        return math.copysign(math.inf, float(value))


@rule("HNT-14", f"{PROTOCOL} JSON predicates for Filtering, Per-file Statistics")
@pytest.mark.parametrize("name", ["f", "d"])
@pytest.mark.parametrize("kinds", list(itertools.product(["float", "double"], repeat=2)), ids="-".join)
def test_json_hints_of_floats_lose_no_row(server, typed, fetcher, name, kinds):
    """What a hint calls `float` are numbers of 32 bits, the column's as the literal's: no row is lost that passes then,
    whether the column is `float` or `double`, and statistics have a float's digits or its bits."""
    passes = lambda holds, value, text: holds(number(value, kinds[0]), number(text, kinds[1]))
    texts = ["0.1", "16777217", "-0.3", "1e-45", "3.4028235e38"]
    assert lost_by_comparisons(server, fetcher, typed, name, kinds, texts, passes) == []


@rule("HNT-15", f"{PROTOCOL} JSON predicates for Filtering")
def test_a_time_without_a_zone_leaves_out_no_file_that_may_match(server, typed, fetcher):
    """A timestamp literal without a zone may be meant in that of the client's session: files that match in any zone
    are kept."""
    zones = [datetime.timedelta(minutes=quarter * 15) for quarter in range(-12 * 4, 14 * 4 + 1)]

    def passes(holds, value, text):
        at, said = datetime.datetime.fromisoformat(value.rstrip("Z")), datetime.datetime.fromisoformat(text)
        return any(holds(at, said - zone) for zone in zones)
    texts = ["2021-01-01T00:00:00", "2021-01-01 00:00:00", "2021-01-01T00:00:00.000001"]
    assert lost_by_comparisons(server, fetcher, typed, "ts", ("timestamp", "timestamp"), texts, passes) == []


@rule("HNT-16", f"{PROTOCOL} JSON predicates for Filtering")
@pytest.mark.parametrize("name", ["l", "k"])
@pytest.mark.parametrize("kind", ["int", "long"])
def test_a_long_column_that_is_said_to_be_an_int_loses_no_row(server, typed, fetcher, name, kind):
    """Values, bounds and partition values outside of 32 bits are not cut to them, where a hint says `int` of a `long`
    column."""
    passes = lambda holds, value, text: holds(value, int(text))
    texts = ["7", "0", str(2**31 - 1), str(-(2**31)), str(2**33), str(2**32 + 7)]
    assert lost_by_comparisons(server, fetcher, typed, name, ("int", kind), texts, passes) == []
