"""Terms, fires, claims and completions, in every order in which two leaders and two workers can take their steps.

`pytest -s tests/model` prints how many states each search visited, and the shortest way to each broken rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.model import database, leaders
from tests.model.cases import ALONE, BACKED_UP, MENDED, STRICTER, TOGETHER, WHOLE, Case
from tests.model.leaders import Leaders
from tests.model.search import Found, search
from tests.model.workers import Workers

PAGE = (Path(__file__).parents[2] / "docs/explanation/model.md").read_text()
NOT_IN_THE_CODE = {"tells_apart", "looks_at_instance"}

MUST_HAPPEN = {
    Leaders: {
        "stands, though one leads,",
        "is too late to raise",
        "ends the session",
        "finds its term lost",
        "moves nothing:",
        "loses the link",
        "dies",
    },
    Workers: {
        "sends again",
        "finds a claim that it does not hold, sends",
        "hears that it is dead,",
        "beats:",
        "begins a rescue:",
        "takes back",
        "changes no row",
        "drops",
        "loses the link",
        "falls silent",
        "dies",
    },
}
"""A model in which these never happen would hold for nothing."""


def run(case: Case) -> Found:
    found = search(case.model)
    print(f"\n{case.name}: {found}")
    return found


def each(cases: Sequence[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@each(WHOLE)
def test_the_invariants_hold_in_every_state(case: Case) -> None:
    found = run(case)
    assert found.rule == "", found
    assert MUST_HAPPEN[type(case.model)] - found.verbs == set()
    assert f"| {case.name} | {found.states:,} |" in PAGE, "the page tells another number of states"


@each(ALONE)
def test_without_this_guard_a_rule_breaks(case: Case) -> None:
    found = run(case)
    assert case.breaks in found.rule, found


@each(BACKED_UP)
def test_without_this_guard_the_others_still_keep_the_rules(case: Case) -> None:
    assert run(case).rule == ""


@each(TOGETHER)
def test_without_it_and_what_backs_it_up_a_rule_breaks(case: Case) -> None:
    found = run(case)
    assert case.breaks in found.rule, found


@each(STRICTER)
def test_rules_stricter_than_the_promises_do_not_hold(case: Case) -> None:
    found = run(case)
    assert case.breaks in found.rule, found


@each(MENDED)
def test_what_would_keep_the_stricter_rules(case: Case) -> None:
    assert run(case).rule == ""


@pytest.mark.parametrize("part", [leaders, database], ids=["leaders", "workers"])
def test_every_guard_is_taken_away_and_missed(part: object) -> None:
    guards = leaders.Guards if part is leaders else database.Guards
    missed = [case.model.guards for case in [*ALONE, *TOGETHER] if isinstance(case.model.guards, guards)]
    for name in set(guards._fields) - NOT_IN_THE_CODE:
        assert any(not getattr(found, name) for found in missed), name
        assert f"`{name}`" in PAGE, name


def test_the_page_shows_a_way_as_the_search_finds_it() -> None:
    name, way = re.findall(r"Without `(\w+)`[^`]*```\n(.*?)\n```", PAGE, re.S)[0]
    (case,) = [case for case in ALONE if case.name.endswith(f"without {name}")]
    assert search(case.model).told == way
