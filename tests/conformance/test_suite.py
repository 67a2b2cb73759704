"""The suite about itself; needs no server."""

import os
import re

from harness.rules import CAPABILITIES
from harness.tables import HERE, README, all_rules, rendered
from mutations import MUTATIONS


def test_the_readme_lists_every_rule_mutation_and_capability():
    """The tables of the README are those of the tests: `python -m harness.tables` writes them."""
    with open(README, encoding="utf-8") as file:
        text = file.read()
    assert rendered(text) == text


def test_every_test_is_one_rule_with_a_sentence_and_a_number_of_its_own():
    """Each test function but these has a rule, and no two rules share a number or a test's name."""
    rules = all_rules()
    functions = []
    for name in os.listdir(HERE):
        if re.fullmatch(r"test_\w+\.py", name) and name != "test_suite.py":
            with open(os.path.join(HERE, name), encoding="utf-8") as file:
                functions += re.findall(r"^def (test_\w+)", file.read(), re.MULTILINE)
    assert sorted(functions) == sorted(rule.test for rule in rules)
    assert len({rule.identifier for rule in rules}) == len(rules)
    assert all(rule.sentence.endswith(".") for rule in rules)


def test_every_capability_is_used_by_a_rule_or_a_fixture():
    """No capability can be declared absent without a test that cares."""
    used = {name for rule in all_rules() for name in (*rule.needs, rule.without) if name}
    used |= {"v2-checkpoints", "column-mapping", "deletion-vectors", "timestamp-ntz"}
    assert used == set(CAPABILITIES)


def test_every_group_has_a_mutation():
    """Each group of tests is tried with a broken server."""
    groups = {rule.group.removeprefix("test_").removesuffix(".py") for rule in all_rules()}
    assert {group for groups, _ in MUTATIONS.values() for group in groups} == groups
