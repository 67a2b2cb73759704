"""Predicates on the fixture of predicates: made at random from a seed, judged row by row, written as JSON or SQL."""

import json
import random

#: Column, its type in JSON predicates, and literals that lie on, between and outside its values.
COLUMNS = {
    "i": ("int", [-(2**31), -3, 0, 1, 2, 5, 7, 10, 2**31 - 1]),
    "l": ("long", [-(2**63), -(2**53) - 1, 0, 10, 50, 2**53, 2**53 + 1, 2**63 - 1]),
    "s": ("string", ["", "10", "Zebra", "apple", "banana", "it's", "x" * 32, "x" * 40, "z" * 33, "ünïcödé", "zzz"]),
    "d": ("double", [-1e300, -2.5, -0.0, 0.0, 0.5, 1.5, 6.0, 9.0, 1e300]),
    "dt": ("date", ["1887-11-12", "1969-12-31", "1970-01-01", "1970-01-06", "2021-04-28", "2052-02-20"]),
    "ts": ("timestamp", ["2020-12-31T23:59:59.999999Z", "2021-01-01T00:00:00Z", "2021-01-01T00:00:00.000004Z",
                         "2021-01-01T00:00:00.000999Z", "2021-01-01T00:00:00.001001Z", "2021-01-12T13:46:40Z"]),
    "b": ("bool", [True, False]),
    "p": ("int", [-1, 0, 1, 2, 3, 9, 10]),
    "q": ("string", ["", "10", "9", "a", "a b/c%", "b", "it's", "true"]),
    "r": ("date", ["1969-12-31", "1970-01-01", "1970-01-04", "1971-01-01", "2021-04-28", "2021-04-29"]),
}
OPERATORS = {
    "equal": ("=", lambda a, b: a == b), "lessThan": ("<", lambda a, b: a < b),
    "lessThanOrEqual": ("<=", lambda a, b: a <= b), "greaterThan": (">", lambda a, b: a > b),
    "greaterThanOrEqual": (">=", lambda a, b: a >= b), "notEqual": ("<>", lambda a, b: a != b),
}
MIRRORED = {"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


def comparable(value, kind):
    """A value of a row so that Python compares it as SQL does: NaN is greater than every number."""
    if kind == "double":
        return (1, 0.0) if value == "nan" else (0, float(value))
    if kind == "timestamp":
        return value if "." in value else value.replace("Z", ".000000Z")
    if kind == "string":
        return value.encode("utf-8")
    return value


def holds(node, row):
    """True, false or null (`None`) of a row."""
    op = node["op"]
    if op in OPERATORS:
        left, right = (operand(child, row) for child in node["children"])
        return None if left is None or right is None else OPERATORS[op][1](left, right)
    if op == "isNull":
        return operand(node["children"][0], row) is None
    results = [holds(child, row) for child in node["children"]]
    if op == "not":
        return None if results[0] is None else not results[0]
    decisive = op == "or"
    return decisive if decisive in results else None if None in results else not decisive


def operand(node, row):
    """The value of a leaf."""
    value = row[node["name"]] if node["op"] == "column" else node["plain"]
    return None if value is None else comparable(value, node["valueType"])


def column(name):
    """A column."""
    return {"op": "column", "name": name, "valueType": COLUMNS[name][0]}


def literal(name, value):
    """A literal of a column's type: `value` as text, as the protocol's examples have it."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return {"op": "literal", "value": text, "valueType": COLUMNS[name][0], "plain": value}


def comparison(choose, names, operators):
    """A random comparison of a column with a literal, or a null check."""
    name = choose.choice(names)
    if choose.random() < 0.15:
        return {"op": "isNull", "children": [column(name)]}
    sides = [column(name), literal(name, choose.choice(COLUMNS[name][1]))]
    if choose.random() < 0.3:
        sides.reverse()
    return {"op": choose.choice(operators), "children": sides}


def tree(choose, names, depth):
    """A random predicate."""
    if depth == 0 or choose.random() < 0.3:
        return comparison(choose, names, [op for op in OPERATORS if op != "notEqual"])
    op = choose.choice(["and", "or", "not", "not"])
    count = 1 if op == "not" else choose.randint(2, 3)
    return {"op": op, "children": [tree(choose, names, depth - 1) for _ in range(count)]}


def json_predicates(seed, count, names=None):
    """Random predicates for `jsonPredicateHints`."""
    choose = random.Random(seed)
    return [tree(choose, list(names or COLUMNS), choose.randint(0, 3)) for _ in range(count)]


def as_json(node):
    """A predicate as `jsonPredicateHints` has it."""
    def without(node):
        found = {name: value for name, value in node.items() if name not in ("plain", "children")}
        return {**found, "children": [without(child) for child in node["children"]]} if "children" in node else found
    return json.dumps(without(node), ensure_ascii=False)


def sql_predicates(seed, count, names=None):
    """Random lists of comparisons for `predicateHints`, which are AND-ed."""
    choose = random.Random(seed)
    return [[comparison(choose, list(names or COLUMNS), list(OPERATORS)) for _ in range(choose.randint(1, 2))]
            for _ in range(count)]


def as_sql(node, choose):
    """A comparison as `predicateHints` has it; a null check comes out negated half of the time."""
    def side(node):
        if node["op"] == "column":
            return node["name"]
        if node["valueType"] in ("string", "date", "timestamp"):
            return "'" + node["value"].replace("'", "''") + "'"
        return node["value"]
    if node["op"] == "isNull":
        return f"{node['children'][0]['name']} IS {'NOT ' if choose else ''}NULL"
    return f"{side(node['children'][0])} {OPERATORS[node['op']][0]} {side(node['children'][1])}"
