"""Leaves out files that a JSON predicate on partition columns excludes, and no others.

A predicate is true, false or unknown of a file; only false leaves it out. Anything that is not understood is unknown.
"""

import datetime
import decimal
import json

DEPTH_MAX = 100
READ = {
    "int": int, "long": int, "float": float, "double": float, "string": str, "date": datetime.date.fromisoformat,
    "bool": lambda text: {"true": True, "false": False}[text.lower()], "decimal": decimal.Decimal,
}
COMPARE = {
    "equal": lambda a, b: a == b, "lessThan": lambda a, b: a < b, "lessThanOrEqual": lambda a, b: a <= b,
    "greaterThan": lambda a, b: a > b, "greaterThanOrEqual": lambda a, b: a >= b,
}


class Unclear(Exception):
    """The predicate says nothing of this file."""


def operand(node, partition):
    """The value of a column or literal; `None` is null."""
    read = READ.get(node["valueType"])
    if read is None:
        raise Unclear
    if node["op"] == "literal":
        return read(node["value"])
    if node["op"] != "column" or node["name"] not in partition:
        raise Unclear
    text = partition[node["name"]]
    return None if text in (None, "") else read(text)


def holds(node, partition, depth=0):
    """True, false, null as `None` (which no row passes), or `Unclear`."""
    if depth > DEPTH_MAX:
        raise Unclear
    op, children = node["op"], node.get("children", [])
    if op in COMPARE:
        left, right = (operand(child, partition) for child in children)
        if None not in (left, right) and isinstance(left, str) != isinstance(right, str):
            raise Unclear
        return None if left is None or right is None else COMPARE[op](left, right)
    if op == "isNull":
        return operand(children[0], partition) is None
    if op == "not":
        inner = holds(children[0], partition, depth + 1)
        return None if inner is None else not inner
    if op in ("and", "or"):
        results = []
        for child in children:
            try:
                results.append(holds(child, partition, depth + 1))
            except Unclear:
                results.append(Unclear)
        decisive = op == "or"
        if decisive in results:
            return decisive
        if Unclear in results:
            raise Unclear
        return None if None in results else not decisive
    raise Unclear


def kept(files, hints):
    """The files that may hold a row of interest."""
    try:
        predicate = json.loads(hints)
    except (TypeError, ValueError, RecursionError):
        return files

    def may_hold(add):
        try:
            return bool(holds(predicate, add.get("partitionValues") or {}))
        except (Unclear, KeyError, ValueError, TypeError, IndexError, AttributeError, ArithmeticError,
                RecursionError):
            return True
    return [add for add in files if may_hold(add)]
