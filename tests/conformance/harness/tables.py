"""The tables of the README, which are made from the tests themselves: `python -m harness.tables` writes them anew."""

import ast
import os
import re

from harness import rules

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
README = os.path.join(HERE, "README.md")


class Rule:
    """One rule, read from the source of its test."""

    def __init__(self, group, function, call, names):
        self.group, self.test = group, function.name
        self.sentence = " ".join((ast.get_docstring(function) or "").split())
        found = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        self.identifier, source = (evaluated(argument, names) for argument in call.args)
        self.source = source.replace(rules.PROTOCOL + " ", "")
        needs = found.get("needs", ())
        self.needs = (needs,) if isinstance(needs, str) else needs
        self.without = found.get("without")

    def row(self):
        """A row of the table."""
        when = ", ".join(self.needs) + (f"without {self.without}" if self.without else "")
        return f"| {self.identifier} | {self.sentence} | `{self.test}` | {self.source} | {when} |"


def evaluated(expression, names):
    """The value of an expression of constants."""
    return eval(compile(ast.Expression(expression), "rule", "eval"), dict(names))


def constants(tree):
    """The constants of texts that a test file has, by which its rules name their source."""
    names = {name: getattr(rules, name) for name in ("PROTOCOL", "REFERENCE", "CLIENT")}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Constant, ast.JoinedStr)):
            names[node.targets[0].id] = evaluated(node.value, names)
    return names


def all_rules():
    """Every rule, in the order of the files."""
    found = []
    for name in sorted(os.listdir(HERE)):
        if re.fullmatch(r"test_\w+\.py", name):
            with open(os.path.join(HERE, name), encoding="utf-8") as file:
                tree = ast.parse(file.read())
            for node in tree.body:
                calls = [call for call in getattr(node, "decorator_list", [])
                         if isinstance(call, ast.Call) and getattr(call.func, "id", None) == "rule"]
                found += [Rule(name, node, call, constants(tree)) for call in calls]
    return found


def tables():
    """Each table of the README, by its name."""
    from mutations import MUTATIONS
    ruled = "| rule | sentence | test | source | for servers with |\n|---|---|---|---|---|\n"
    broken = "| mutation | what it breaks | noticed by |\n|---|---|---|\n"
    lacked = "| capability | what a server may lack |\n|---|---|\n"
    return {
        "rules": ruled + "\n".join(rule.row() for rule in all_rules()),
        "mutations": broken + "\n".join(f"| {name} | {mutate.__doc__} | {', '.join(groups)} |"
                                        for name, (groups, mutate) in MUTATIONS.items()),
        "capabilities": lacked + "\n".join(f"| `{name}` | {text} |" for name, text in rules.CAPABILITIES.items()),
    }


def rendered(text):
    """The README with its tables as they should be."""
    for name, table in tables().items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        head, _, rest = text.partition(begin)
        _, found, tail = rest.partition(end)
        if not found:
            raise SystemExit(f"README.md has no place for {name}")
        text = head + begin + table + "\n" + end + tail
    return text


if __name__ == "__main__":
    with open(README, encoding="utf-8") as source:
        content = rendered(source.read())
    with open(README, "w", encoding="utf-8") as target:
        target.write(content)
