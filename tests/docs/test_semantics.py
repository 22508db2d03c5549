"""The page of semantics is complete: every state is in its picture, every rule names a test that exists."""

from __future__ import annotations

import ast
from pathlib import Path

from scheduledjobs.core.reasons import State

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/explanation/semantics.md").read_text()
TOPICS = [
    "ledger", "fire", "effective_from", "change", "misfire", "suspend", "not runnable",
    "time zone", "cron accepted", "FIXED_RATE", "FIXED_DELAY", "ONE_SHOT", "jitter",
    "Forbid", "Allow", "Queue", "Replace", "release", "run now",
    "claim", "complete", "startingDeadline", "timeout", "retry", "drain", "handler", "promise",
]  # fmt: skip
"""Section 5 of the design, in its order: deciding moments, schedules, overlap, executing."""

MORE = ["pause", "cancel", "versions", "sql", "restored", "kubernetes-job", "status"]
RULES = "Rules, and the tests that hold them"


def section(title: str) -> str:
    return PAGE.split(f"## {title}", 1)[1].split("\n## ", 1)[0]


def first_cells(title: str) -> list[tuple[str, ...]]:
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in section(title).splitlines()
        if line[:1] == "|"
    ]
    return rows[2:]


def test_every_state_is_in_the_diagram() -> None:
    assert {state for state in State if state.value not in section("States of an execution")} == set()


def known_tests() -> set[str]:
    """The names of all test functions, as pytest finds them: at the top of a module."""
    modules = [ast.parse(path.read_text()) for path in (ROOT / "tests").rglob("test_*.py")]
    functions = (node for module in modules for node in module.body)
    return {node.name for node in functions if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_rule_names_a_test_that_exists() -> None:
    known = known_tests()
    assert [(rule, name) for rule, name in first_cells(RULES) if name not in known] == []


def test_every_rule_is_told_once() -> None:
    rules = [row[0] for row in first_cells(RULES)]
    assert sorted(rules) == sorted(set(rules))
    assert all(": " in rule for rule in rules)


def test_every_topic_of_the_rules_has_a_test() -> None:
    topics = {row[0].split(":", 1)[0] for row in first_cells(RULES)}
    assert topics == {*TOPICS, *MORE}
