"""The search itself: it finds the shortest way, what is left undone, and nothing where there is nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from tests.model.search import Step, TooManyStates, search


class Count(NamedTuple):
    """A number that goes up by one or doubles until `end`; `broken_at` and a rest below `enough` break a rule."""

    end: int = 20
    broken_at: int = -1
    enough: int = 0

    def start(self) -> int:
        return 1

    def steps(self, state: int) -> Iterator[Step[int]]:
        for verb, after in (("adds", state + 1), ("doubles", 2 * state)):
            if after <= self.end:
                yield Step("it", verb, str(after), after)
        if state > 1:
            yield Step("it", "falls", "to 1", 1, is_needed=False)

    def broken(self, state: int) -> str:
        return f"{state} is not allowed" if state == self.broken_at else ""

    def left_undone(self, state: int) -> str:
        return f"{state} is too little" if state < self.enough else ""


def test_visits_every_state_once() -> None:
    found = search(Count())
    assert (found.states, found.rule, found.way) == (20, "", ())
    assert found.verbs == {"adds", "doubles", "falls"}


def test_finds_the_shortest_way_to_what_breaks_a_rule() -> None:
    found = search(Count(broken_at=12))
    assert found.rule == "12 is not allowed"
    assert found.way == ("it adds 2", "it adds 3", "it doubles 6", "it doubles 12")
    assert found.told.splitlines()[-2:] == ["  4. it doubles 12", "     -> 12 is not allowed"]


def test_what_is_left_undone_counts_only_at_rest_and_a_fault_is_no_unrest() -> None:
    assert search(Count(enough=20)).rule == ""
    assert search(Count(enough=21)).rule == "20 is too little"


class Trap(Count):
    """The same, but from 7 on it goes round and round."""

    def steps(self, state: int) -> Iterator[Step[int]]:
        if state in (7, 8):
            yield Step("it", "turns", "round", 15 - state)
        else:
            yield from super().steps(state)


def test_finds_from_where_nothing_comes_to_rest_any_more() -> None:
    found = search(Trap(end=12))
    assert found.rule == "it can never come to rest again"
    assert found.way == ("it adds 2", "it doubles 4", "it doubles 8")


def test_gives_up_on_a_model_that_is_too_large() -> None:
    with pytest.raises(TooManyStates):
        search(Count(end=1_000), most=100)
