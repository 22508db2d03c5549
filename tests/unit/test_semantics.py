"""The page of semantics is complete: every reason has its row, every rule names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

from scheduledjobs.core.reasons import Reason, State

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/explanation/semantics.md").read_text()
TOPICS = {
    "ledger", "fire", "effective_from", "change", "misfire", "suspend", "pause", "not runnable", "time zone, DST",
    "FIXED_RATE", "FIXED_DELAY", "ONE_SHOT", "jitter", "Forbid", "Queue", "Replace", "release", "run now", "claim",
    "complete", "startingDeadline", "timeout", "cancel", "retry", "versions", "sql",
}  # fmt: skip


def section(title: str) -> str:
    return PAGE.split(f"## {title}", 1)[1].split("\n## ", 1)[0]


def first_cells(title: str) -> list[tuple[str, ...]]:
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in section(title).splitlines()
        if line[:1] == "|"
    ]
    return rows[2:]


def test_every_reason_is_explained_once() -> None:
    named = [row[0] for row in first_cells("Reasons")]
    assert sorted(named) == sorted(reason.value for reason in Reason)


def test_every_state_is_in_the_diagram() -> None:
    assert {state for state in State if state.value not in section("States of an execution")} == set()


def test_every_rule_names_a_test_that_exists() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)\(", tests))
    for rule, name in first_cells("Rules, and the tests that hold them"):
        assert name in defined, rule


def test_every_topic_of_the_rules_has_a_test() -> None:
    topics = {row[0].split(":", 1)[0] for row in first_cells("Rules, and the tests that hold them")}
    assert topics == TOPICS
