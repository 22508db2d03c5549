"""Outages of single namespaces: who comes behind the others, who is left alone, and for how long."""

from __future__ import annotations

from scheduledjobs.errors import KubeUnavailable
from scheduledjobs.steps.outages import LEAST_SECONDS, MOST_SECONDS, Failure, Outages, Turn

NOW = 1000.0


def failed(seconds: float = 0.0) -> dict[str, Failure]:
    return {"a": Failure(KubeUnavailable("failed calling webhook", 500), seconds)}


def left_alone(outages: Outages, seconds: float = 0.0, *, is_other_well: bool = True) -> float:
    """Return how long a namespace is left alone after a request that failed after so many seconds."""
    outages.met(failed(seconds), NOW, is_other_well=is_other_well)
    wait = 0.0
    while outages.turn("a", NOW + wait) is Turn.NOT_NOW:
        wait += LEAST_SECONDS / 4
    return wait


def test_a_namespace_that_fails_alone_is_left_alone_longer_each_time_up_to_a_bound() -> None:
    outages = Outages()
    assert [left_alone(outages) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, MOST_SECONDS, MOST_SECONDS]
    outages.over("a")
    assert left_alone(outages) == LEAST_SECONDS


def test_a_namespace_is_left_alone_for_as_long_as_its_request_hung_up_to_a_bound() -> None:
    assert left_alone(Outages(), 3.0) == 3.0
    assert left_alone(Outages(), 10.0) == MOST_SECONDS


def test_a_namespace_that_is_known_to_fail_alone_is_left_alone_where_no_other_is_asked_for() -> None:
    outages = Outages()
    left_alone(outages)
    assert left_alone(outages, is_other_well=False) == 2 * LEAST_SECONDS


def test_where_no_namespace_does_better_none_is_left_alone_and_others_come_first_for_a_while() -> None:
    """Not for ever: there may always be others."""
    outages = Outages()
    assert left_alone(outages, 10.0, is_other_well=False) == 0.0
    assert outages.turn("a", NOW) is Turn.BEHIND
    assert outages.turn("b", NOW) is Turn.WITH_OTHERS
    assert outages.turn("a", NOW + MOST_SECONDS) is Turn.WITH_OTHERS


def test_the_namespaces_that_come_behind_and_those_that_are_left_alone_are_told_apart() -> None:
    outages = Outages()
    assert outages.turns(NOW) == ([], [])
    outages.met(failed(), NOW, is_other_well=False)
    assert outages.turns(NOW) == (["a"], [])
    outages.met(failed(), NOW, is_other_well=True)
    assert outages.turns(NOW) == ([], ["a"])
    assert outages.turns(NOW + MOST_SECONDS) == ([], [])
