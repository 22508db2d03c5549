"""Outages of single namespaces: who comes behind the others, who is left alone, and who has how much time."""

from __future__ import annotations

import pytest

from scheduledjobs.errors import Forbidden, KubeUnavailable
from scheduledjobs.kube.client import REQUEST_SECONDS
from scheduledjobs.steps.outages import (
    FULL_TRIES,
    LEAST_SECONDS,
    MOST_FAILED,
    MOST_SECONDS,
    PROBE_SECONDS,
    Failure,
    Outages,
    Tries,
)

NOW = 1000.0
DOWN = KubeUnavailable("failed calling webhook", 500)


def fail(outages: Outages, namespace: str = "a", seconds: float = 0.0, *, is_other_well: bool = True) -> None:
    outages.failed(namespace, Failure(DOWN, seconds), NOW, is_other_well=is_other_well)


def left_alone(outages: Outages, seconds: float = 0.0, *, is_other_well: bool = True) -> float:
    """Return how long a namespace is left alone after a request that failed after so many seconds."""
    fail(outages, "a", seconds, is_other_well=is_other_well)
    wait = 0.0
    while not outages.behind(NOW + wait):
        wait += LEAST_SECONDS / 4
    return wait


def test_a_namespace_that_fails_alone_is_left_alone_longer_each_time_up_to_a_bound() -> None:
    outages = Outages()
    assert [left_alone(outages) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, MOST_SECONDS, MOST_SECONDS]
    outages.answered("a", 0.01)
    assert left_alone(outages) == LEAST_SECONDS


def test_a_namespace_is_left_alone_for_twice_as_long_as_its_request_hung_up_to_a_bound() -> None:
    assert left_alone(Outages(), 3.0) == 6.0
    assert left_alone(Outages(), 10.0) == MOST_SECONDS


def test_a_namespace_that_is_known_to_fail_alone_is_left_alone_where_no_other_is_asked_for() -> None:
    outages = Outages()
    left_alone(outages)
    assert left_alone(outages, is_other_well=False) == 2 * LEAST_SECONDS


def test_where_no_namespace_does_better_none_is_left_alone() -> None:
    outages = Outages()
    assert left_alone(outages, 10.0, is_other_well=False) == 0.0
    assert outages.behind(NOW) == ["a"]


def test_a_request_that_hung_delays_those_of_all_namespaces_that_are_known_to_be_out() -> None:
    outages = Outages()
    fail(outages, "a")
    fail(outages, "c", is_other_well=False)
    fail(outages, "b", 2.0)
    assert outages.behind(NOW + 3.0) == ["c"]
    assert outages.behind(NOW + 4.0) == ["c", "a", "b"]


def test_namespaces_that_do_well_come_first_then_those_that_may_fail_then_those_that_failed() -> None:
    outages = Outages()
    assert outages.order("b") == outages.order("c")
    fail(outages, "d", 2.0)
    fail(outages, "a")
    outages.answered("b", 0.01)
    assert sorted("dcba", key=outages.order) == ["b", "c", "a", "d"]
    outages.answered("d", 0.01)
    outages.over("a")
    assert outages.order("b") == outages.order("c") == outages.order("a")


def test_a_request_has_less_time_where_its_namespace_may_be_out_alone_but_for_each_fourth() -> None:
    outages = Outages()
    assert outages.patience("a") == REQUEST_SECONDS
    fail(outages, is_other_well=False)
    assert outages.patience("a") == REQUEST_SECONDS  # it may be the API server's outage
    assert outages.patience("b") == PROBE_SECONDS
    outages.answered("b", 0.01)
    assert outages.patience("b") == REQUEST_SECONDS
    found = []
    for _ in range(2 * FULL_TRIES):
        found.append(outages.patience("a"))
        fail(outages)
    assert found == [*[PROBE_SECONDS] * 3, REQUEST_SECONDS] * 2


def test_a_request_has_as_much_time_as_others_need() -> None:
    outages = Outages()
    fail(outages)
    outages.answered("b", 1.5)
    assert outages.patience("a") == 6.0
    outages.answered("b", 5.0)
    assert outages.patience("a") == REQUEST_SECONDS


def test_the_first_that_fails_again_ends_the_turn_of_those_that_failed_before() -> None:
    outages = Outages()
    for namespace in "abc":
        fail(outages, namespace)
    tries = Tries(outages)
    assert tries.may("a", is_late=False)
    tries.answered("a", 0.01)
    assert tries.may("b", is_late=False)
    tries.failed("b", DOWN, 0.0)
    assert [one for one in "abcd" if tries.may(one, is_late=False)] == ["a", "d"]


def test_one_that_failed_before_has_its_turn_however_late_unless_another_failed() -> None:
    outages = Outages()
    for namespace in "ab":
        fail(outages, namespace)
    tries = Tries(outages)
    assert [one for one in "cab" if tries.may(one, is_late=True)] == ["a", "b"]
    tries.answered("a", 0.01)
    assert not tries.may("b", is_late=True)
    tries = Tries(outages)
    tries.failed("c", DOWN, 0.0)
    assert not tries.may("b", is_late=True)


def test_a_pass_in_which_all_fail_ends_after_a_few_and_says_so() -> None:
    outages = Outages()
    tries = Tries(outages)
    names = [f"namespace-{number}" for number in range(9)]
    for name in names:
        if tries.may(name, is_late=False):
            tries.failed(name, DOWN, 0.0)
    with pytest.raises(KubeUnavailable):
        tries.end(NOW)
    assert outages.behind(NOW) == names[:MOST_FAILED]


def test_a_namespace_does_not_count_as_another_that_does_well() -> None:
    outages = Outages()
    tries = Tries(outages)
    tries.answered("a", 0.01)
    tries.failed("a", DOWN, 0.0)
    tries.end(NOW)
    assert outages.behind(NOW) == ["a"]


def test_a_namespace_that_is_known_to_fail_alone_fails_no_pass() -> None:
    outages = Outages()
    fail(outages)
    tries = Tries(outages)
    tries.failed("a", DOWN, 0.0)
    tries.end(NOW)
    assert outages.behind(NOW + LEAST_SECONDS) == []


def test_a_refused_namespace_is_left_alone_and_says_nothing_of_the_api_server() -> None:
    outages = Outages()
    tries = Tries(outages)
    names = [f"namespace-{number}" for number in range(9)]
    for name in names:
        assert tries.may(name, is_late=False)
        tries.failed(name, Forbidden("no right", 403), 0.0)
    tries.end(NOW)
    assert outages.behind(NOW) == []
    assert outages.behind(NOW + LEAST_SECONDS) == names


def test_credentials_that_are_refused_are_refused_everywhere() -> None:
    tries = Tries(Outages())
    tries.failed("a", Forbidden("Unauthorized", 401), 0.0)
    with pytest.raises(Forbidden):
        tries.end(NOW)
