"""The cast policy, a second time: random schemas and rows, and what a recipient must read of them.

usage: cast_policy.py write FOLDER SEED
       cast_policy.py check FOLDER PROFILE TABLE REJECTS_FILE
`write` leaves fields.json, data.jsonl, expected.jsonl (rows that pass) and refused.json (line to columns, the first of
which is at fault). `check` reads the shared table by the official client and the rejects file, and says what is other
than it must be. This program follows the policy's text and knows nothing of the code that it judges.
"""

import datetime
import decimal
import json
import os
import pathlib
import random
import sys

ROWS = 400
COLUMNS = 24
PRIVATE = "planted-private"
VALUE = "planted-value"
UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)
FIRST = datetime.date(1, 1, 1).toordinal()
LAST = datetime.date(9999, 12, 31).toordinal()
TYPES = ["STRING", "NUMBER", "BOOLEAN", "DATE", "DATETIME", "MONEY", "IMAGE", "LINK", "CURRENCY", "UNIQUE_ID", "NEW_TYPE"]

# Texts that a column takes as they are; none has a character that JSON text may write in two ways.
TEXTS = ["", "a", "two words", "1,299.00", "true", "2026-09-01", "é日😀", "[1]", "{}", "null", "_private", "x" * 300]
NUMBERS = ["0", "-0", "1", "-17", "0.1", "12.50", "1e3", "1E-7", "9007199254740992", "9007199254740994", "1e22", "5e-324"]
NOT_NUMBERS = ["9007199254740993", "1e23", "1e400", "1e-400", '"1,299.00"', '"12 EUR"', '""', '"NaN"', '"+1"', '"01"', "true", "[1]", "{}"]
NOT_BOOLEANS = ["0", "1", '"yes"', '"1"', '""', "[]", '" true"']
NOT_DATES = ['"2026-02-29"', '"01.09.2026"', '"2026-09-01T06:00:00Z"', '"2026-09-01T00:00:00"', '""', "20260901", "true", "{}"]
NOT_TIMES = ['"2026-09-01"', '"1788242850123"', "1.5", "1e12", "99999999999999999999", '"2026-09-01T25:00:00Z"', '""', "false", "[]"]
NOT_MONEY = ["{}", "12450", '"12 USD"', "[]", '{"amount":1.0000001}', '{"amount":"1,000"}', '{"amount":null}', '{"amount":1,"currencyCode":840}', '{"currencyCode":"USD"}']
FORBIDDEN = ['"\\u0000"', '"a\\ud800"', '"\\udc00b"']


class Value:
    """A value as JSON text, with what it becomes, and whether a column refuses it."""

    def __init__(self, text, expected=None, refused=False):
        self.text, self.expected, self.refused = text, expected, refused


class Writer:
    def __init__(self, chance):
        self.chance = chance

    def space(self):
        return self.chance.choice(["", "", "", " ", "\t "])

    def quoted(self, text):
        """A JSON string; letters may be escaped, for it is the text that counts."""
        plain = json.dumps(text, ensure_ascii=self.chance.random() < 0.3)
        if text.isalnum() and text.isascii() and self.chance.random() < 0.1:
            return f'"\\u{ord(text[0]):04x}{text[1:]}"'
        return plain

    def members(self, pairs):
        """An object's text: members in any order, private and unknown ones between them, some keys twice."""
        written = [(self.quoted(key), text) for key, text in pairs]
        self.chance.shuffle(written)
        if written and self.chance.random() < 0.1:
            key, _ = self.chance.choice(written)
            written.insert(0, (key, f'"{VALUE} that a later one replaces"'))
        for _ in range(self.chance.choice([0, 0, 1, 2])):
            key = self.chance.choice(['"_secret"', '"\\u005fhidden"', '"unknown"'])
            hidden = self.chance.choice([f'"{PRIVATE}"', "1", f'{{"deep":["{PRIVATE}",{{}}]}}', "null", '"\\ud800"'])
            written.insert(self.chance.randrange(len(written) + 1), (key, hidden))
        return "{" + ",".join(f"{self.space()}{k}{self.space()}:{self.space()}{v}{self.space()}" for k, v in written) + "}"

    def elements(self, texts):
        return "[" + ",".join(f"{self.space()}{text}{self.space()}" for text in texts) + "]"

    def json_text(self, depth=0):
        """Any JSON value: its text with white space and private keys, and its compact text without them."""
        kind = self.chance.randrange(6 if depth < 3 else 4)
        if kind == 0:
            text = json.dumps(self.chance.choice(TEXTS), ensure_ascii=False)
            return text, text
        if kind < 4:
            text = self.chance.choice(NUMBERS + ["true", "false"] + (["null"] if depth else []))
            return text, text
        inner = [self.json_text(depth + 1) for _ in range(self.chance.randrange(4))]
        if kind == 4:
            return self.elements(text for text, _ in inner), "[" + ",".join(compact for _, compact in inner) + "]"
        pairs = [(f'"k{index}"', text, compact) for index, (text, compact) in enumerate(inner)]
        text = [f"{key} : {value}" for key, value, _ in pairs]
        if self.chance.random() < 0.5:
            text.insert(self.chance.randrange(len(text) + 1), f'"_p":"{PRIVATE}"')
        return "{ " + " , ".join(text) + " }", "{" + ",".join(f"{key}:{compact}" for key, _, compact in pairs) + "}"


class Column:
    """A declared type: how to declare it, and how to make values of it."""

    def __init__(self, writer, kind, members=None, element=None):
        self.writer, self.chance = writer, writer.chance
        self.kind, self.members, self.element = kind, members, element

    def shape(self):
        if self.kind == "OBJECT":
            shape = {key: column.shape() for key, _, column in self.members}
            return {**shape, "_private": "STRING"} if self.chance.random() < 0.5 else shape
        if self.kind == "ARRAY":
            return [self.element.shape()]
        examples = {"STRING": "some text", "NUMBER": 17, "BOOLEAN": False}
        return examples[self.kind] if self.kind in examples and self.chance.random() < 0.2 else self.kind

    def value(self, refuse):
        """A value that is taken, or one that is refused somewhere inside."""
        if not refuse and self.chance.random() < 0.1:
            return Value("null")
        value = getattr(self, "of_" + self.kind.lower(), self.of_string)(refuse)
        value.refused = refuse
        return value

    def of_string(self, refuse):
        if refuse:
            return Value(self.chance.choice(FORBIDDEN))
        if self.chance.random() < 0.7:
            text = self.chance.choice(TEXTS)
            return Value(self.writer.quoted(text), text)
        number = self.chance.choice(NUMBERS + ["true", "false"])
        if self.chance.random() < 0.5:
            return Value(number, number)
        text, compact = self.writer.json_text(2)
        if text == "null":
            return Value(text)
        return Value(text, json.loads(text) if text[0] == '"' else compact)

    def of_json(self, refuse):
        if refuse:
            return Value('{"a":["\\u0000"]}')
        return Value(*self.writer.json_text())

    def of_number(self, refuse):
        if refuse:
            return Value(self.chance.choice(NOT_NUMBERS))
        fraction = repr(self.chance.uniform(-1e6, 1e6))
        text = self.chance.choice([*NUMBERS, fraction, str(self.chance.randrange(-(2**53), 2**53))])
        return Value(f'"{text}"' if self.chance.random() < 0.2 else text, float(text))

    of_currency = of_number

    def of_boolean(self, refuse):
        if refuse:
            return Value(self.chance.choice(NOT_BOOLEANS))
        text = self.chance.choice(["true", "false", '"true"', '"FALSE"', '"True"'])
        return Value(text, text.strip('"').lower() == "true")

    def of_date(self, refuse):
        if refuse:
            return Value(self.chance.choice(NOT_DATES))
        day = datetime.date.fromordinal(self.chance.randrange(FIRST + 1, LAST)).isoformat()
        text = self.chance.choice([day, f"{day}T00:00:00Z", f"{day}T00:00:00.000+00:00", f"{day}T05:30:00+05:30"])
        return Value(f'"{text}"', day)

    def of_datetime(self, refuse):
        if refuse:
            return Value(self.chance.choice(NOT_TIMES))
        micros = self.chance.randrange(-60_000_000_000_000_000, 250_000_000_000_000_000)
        if self.chance.random() < 0.3:
            return Value(str(micros // 1000), (EPOCH + datetime.timedelta(milliseconds=micros // 1000)).isoformat())
        time = EPOCH + datetime.timedelta(microseconds=micros)
        digits = self.chance.choice([0, 3, 6, 9])
        shown = time if digits > 3 else time.replace(microsecond=time.microsecond // 1000 * 1000 if digits else 0)
        minutes = self.chance.choice([0, 0, 120, -330])
        local = (shown + datetime.timedelta(minutes=minutes)).replace(tzinfo=None)
        fraction = f".{local.microsecond:06}789"[: digits + 1] if digits else ""
        sign, away = "-" if minutes < 0 else "+", abs(minutes)
        offset = f"{sign}{away // 60:02}:{away % 60:02}" if minutes else self.chance.choice(["Z", "z", "", "+00:00"])
        text = local.replace(microsecond=0).isoformat(sep=self.chance.choice("Tt "))
        return Value(f'"{text}{fraction}{offset}"', shown.isoformat())

    def of_money(self, refuse):
        if refuse:
            return Value(self.chance.choice(NOT_MONEY))
        with decimal.localcontext(decimal.Context(prec=50)):
            scale = self.chance.choice([0, 0, 2, 6])
            amount = decimal.Decimal(self.chance.randrange(-(10**32) + 1, 10**32)).scaleb(-scale)
            expected = str(amount.quantize(decimal.Decimal("0.000001")))
            text = f"{amount:f}"
        code = self.chance.choice(["USD", "EUR", None])
        pairs = [("amount", f'"{text}"' if self.chance.random() < 0.3 else text)]
        if code or self.chance.random() < 0.5:
            pairs.append(("currencyCode", "null" if code is None else f'"{code}"'))
        return Value(self.writer.members(pairs), {"amount": expected, "currency_code": code})

    def of_object(self, refuse):
        if refuse and self.chance.random() < 0.2:
            return Value(self.chance.choice(["1", '"{}"', "[]", "true"]))
        bad = self.chance.randrange(len(self.members)) if refuse else -1
        pairs, expected = [], {}
        for index, (key, name, column) in enumerate(self.members):
            expected[name] = None
            if index != bad and self.chance.random() < 0.15:
                continue
            value = column.value(index == bad)
            pairs.append((key, value.text))
            expected[name] = value.expected
        return Value(self.writer.members(pairs), expected)

    def of_array(self, refuse):
        if refuse and self.chance.random() < 0.2:
            return Value(self.chance.choice(["1", '"[]"', "{}", "false"]))
        count = self.chance.randrange(1 if refuse else 0, 4)
        bad = self.chance.randrange(count) if refuse else -1
        values = [self.element.value(index == bad) for index in range(count)]
        return Value(self.writer.elements(value.text for value in values), [value.expected for value in values])


def column(writer, depth=0):
    chance = writer.chance
    nested = 0.35 if depth == 0 else 0.5 if depth < 3 else 0
    if chance.random() >= nested:
        return Column(writer, chance.choice(TYPES + ([] if depth else ["JSON"])))
    if chance.random() < 0.5:
        keys = chance.sample([("a", "a"), ("b-c", "b_c"), ("D", "D"), ("zip code", "zip_code"), ("9th", "c9th"), ("é", "c_")], 3)
        return Column(writer, "OBJECT", members=[(key, name, column(writer, depth + 1)) for key, name in keys])
    return Column(writer, "ARRAY", element=column(writer, depth + 1))


def columns(writer):
    """Columns of every type and one of four levels, then random ones."""
    leaf = lambda kind: Column(writer, kind)  # noqa: E731
    inner = Column(writer, "OBJECT", members=[("x", "x", leaf("DATETIME")), ("y", "y", leaf("MONEY"))])
    middle = Column(writer, "ARRAY", element=inner)
    deep = Column(writer, "OBJECT", members=[("list", "list", middle), ("on", "on", leaf("BOOLEAN"))])
    fixed = [leaf(kind) for kind in [*TYPES, "JSON"]] + [Column(writer, "ARRAY", element=deep)]
    every = fixed + [column(writer) for _ in range(COLUMNS - len(fixed))]
    writer.chance.shuffle(every)
    return [(f"f{index}", of) for index, of in enumerate(every)]


def declare(name, of):
    if of.kind == "JSON":
        kind = of.chance.choice(["OBJECT", "ARRAY"])
        return {"name": name, "dataType": kind, "fieldType": "SCHEMA"}
    if of.kind in ("OBJECT", "ARRAY"):
        return {"name": name, "dataType": of.kind, "fieldType": "SCHEMA", "shape": of.shape()}
    if of.kind == "NEW_TYPE":
        return {"name": name, "fieldType": "CLASSIFICATION"}
    return {"name": name, "dataType": of.kind, "fieldType": "SCHEMA"}


def write(folder, seed):
    chance = random.Random(seed)
    writer = Writer(chance)
    every = columns(writer)
    fields = [declare(name, of) for name, of in every]
    private = {"name": "shared_but_private", "dataType": "STRING", "fieldType": "SCHEMA", "isPrivate": True}
    fields.insert(chance.randrange(len(fields)), private)
    fields.insert(chance.randrange(len(fields)), {"name": "_system", "dataType": "STRING", "fieldType": "SCHEMA"})
    lines, expected, refused = [], [], {}
    for line in range(1, ROWS + 1):
        if chance.random() < 0.02:
            lines.append(chance.choice([f'"{VALUE}"', f"{VALUE}", f'{{"f0":"{VALUE}"', "[1]", "17"]))
            refused[line] = [None]
            continue
        faults = chance.sample(range(len(every)), chance.choice([0, 0, 0, 1, 2]))
        values = {name: of.value(index in faults) for index, (name, of) in enumerate(every)}
        pairs = [(name, value.text) for name, value in values.items()]
        pairs += [("shared_but_private", f'"{PRIVATE}"'), ("_system", f'["{PRIVATE}"]')]
        lines.append(writer.members(pairs))
        if faults:
            refused[line] = [every[index][0] for index in sorted(faults)]
        else:
            expected.append({name: value.expected for name, value in values.items()})
    (folder / "fields.json").write_text(json.dumps(fields))
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "expected.jsonl").write_text("".join(json.dumps(row) + "\n" for row in expected))
    (folder / "refused.json").write_text(json.dumps(refused))
    levels = lambda of: 1 + max((levels(inner) for inner in inners(of)), default=0)  # noqa: E731
    print(json.dumps({"rows": ROWS, "good": len(expected), "levels": max(levels(of) for _, of in every)}))


def inners(of):
    return [of.element] if of.element else [inner for _, _, inner in of.members or []]


def check_rejects(folder, path):
    refused = {int(line): names for line, names in json.loads((folder / "refused.json").read_text()).items()}
    text = path.read_text()
    found = [json.loads(line) for line in text.splitlines()]
    problems = [f"the rejects file has {marker}" for marker in (PRIVATE, VALUE, "_system", "shared_but_private") if marker in text]
    lines = [reject["line"] for reject in found]
    if lines != sorted(refused):
        problems.append(f"lines {sorted(set(lines) ^ set(refused))[:9]} are refused here and not there")
    for reject in found:
        first = refused.get(reject["line"], [None])[0]
        if reject["column"] != first:
            problems.append(f"line {reject['line']}: column {reject['column']}, not {first}")
        if set(reject) != {"line", "column", "code", "reason"} or (first and first not in reject["reason"]):
            problems.append(f"line {reject['line']} says {reject}")
    return problems


def check_rows(folder, url):
    import delta_sharing
    from values import rows

    expected = [json.loads(line) for line in (folder / "expected.jsonl").read_text().splitlines()]
    problems = []
    for delta in (False, True):
        found = rows(delta_sharing.load_as_pandas(url, use_delta_format=delta))
        if len(found) != len(expected):
            problems.append(f"{len(found)} rows, not {len(expected)}")
        # One run is one file, so its rows stay in their order.
        for number, (read, wanted) in enumerate(zip(found, expected)):
            read = {name: value for name, value in read.items() if name not in ("run_id", "run_finished_at")}
            # The texts tell -0.0 from 0.0 and 1 from 1.0.
            for name in sorted(set(read) | set(wanted)):
                if repr(read.get(name)) != repr(wanted.get(name)):
                    problems.append(f"row {number} {name}: read {read.get(name)!r}, wanted {wanted.get(name)!r}")
    return problems


def main():
    command, folder, *arguments = sys.argv[1:]
    folder = pathlib.Path(folder)
    if command == "write":
        write(folder, int(arguments[0]))
        return
    profile, table, rejects = arguments
    for problem in [*check_rejects(folder, pathlib.Path(rejects)), *check_rows(folder, f"{profile}#{table}")][:20]:
        print(problem)


main()
sys.stdout.flush()
# The packages' threads may still run when the interpreter takes itself apart, and then it aborts.
os._exit(0)
