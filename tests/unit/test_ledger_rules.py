"""What the ledger commands take for granted: what was due under which version, and how far back history is kept."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from scheduledjobs.core.expected import Version, due_moments, segments
from scheduledjobs.core.schedule import FixedRate, OneShot
from scheduledjobs.ledger.read import read_history
from scheduledjobs.ledger.verify import kept_from

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def versions(*recorded: tuple[int, datetime]) -> list[Version]:
    return [(number, FixedRate(MINUTE), None, since, since) for number, since in recorded]


def test_of_versions_with_one_instant_the_last_recorded_counts() -> None:
    found = segments(versions((1, NOON), (2, NOON + MINUTE), (3, NOON + MINUTE)))
    assert [(s.version, s.since, s.until) for s in found] == [(1, NOON, NOON + MINUTE), (3, NOON + MINUTE, None)]


def test_a_version_recorded_later_counts_from_its_instant_though_the_clock_was_set_back() -> None:
    found = segments(versions((1, NOON), (2, NOON + 5 * MINUTE), (3, NOON + MINUTE)))
    assert [(s.version, s.until) for s in found] == [(1, NOON + MINUTE), (3, None)]


@pytest.mark.parametrize(
    ("run_at", "has_row", "due"),
    [(NOON - 2 * MINUTE, False, True), (NOON - SECOND, False, False), (NOON - SECOND, True, True)],
    ids=["it had come", "it had not come yet", "it had come before the clock was set back"],
)
def test_a_one_shot_was_due_if_its_moment_had_come_when_it_was_replaced(
    run_at: datetime,
    has_row: bool,  # noqa: FBT001
    due: bool,  # noqa: FBT001
) -> None:
    once: Version = (1, OneShot(run_at), None, NOON, NOON)
    after_the_clock_was_set_back: Version = (2, FixedRate(MINUTE), None, NOON, NOON - MINUTE)
    found = segments([once, after_the_clock_was_set_back])
    decided = {run_at} if has_row else set()
    assert due_moments(found, NOON - MINUTE * 5, NOON, decided) == ([run_at] if due else [])


def test_a_one_shot_that_was_replaced_before_its_moment_stays_so_whatever_is_recorded_after() -> None:
    once: Version = (1, OneShot(NOON - SECOND), None, NOON, NOON - MINUTE)
    replaced_at_once: Version = (2, FixedRate(MINUTE), None, NOON, NOON - MINUTE + SECOND)
    much_later: Version = (3, FixedRate(MINUTE), None, NOON, NOON + 60 * MINUTE)
    found = segments([once, replaced_at_once, much_later])
    assert due_moments(found, NOON - 5 * MINUTE, NOON) == []


def row(seconds: int, fixed_delay: str, following: int | None) -> dict[str, Any]:
    spec = {"handler": "log", "fixedDelay": fixed_delay}
    next_fire_at = None if following is None else NOON + following * SECOND
    since = NOON + seconds * SECOND
    return {
        "version": 1, "state": "ACTIVE", "spec": spec, "anchor_at": None, "effective_from": since, "recorded_at": since,
        "next_fire_at": next_fire_at,
    }  # fmt: skip


def test_what_was_planned_is_kept_while_its_schedule_and_instant_last() -> None:
    history = read_history([row(0, "9s", 9), row(0, "9s", None), row(0, "9s", 30), row(40, "9s", 49)])
    assert history.planned[NOON] == {NOON + 9 * SECOND, NOON + 30 * SECOND}
    again = read_history([row(0, "9s", 9), row(0, "5s", 5), row(0, "5s", None)])
    assert again.planned[NOON] == {NOON + 5 * SECOND}


def once(state: str, following: datetime | None, run_at: datetime = NOON) -> dict[str, Any]:
    since = NOON + MINUTE
    return {
        "version": 1, "state": state, "spec": {"handler": "log", "runAt": run_at.isoformat()}, "anchor_at": None,
        "effective_from": since, "recorded_at": since, "next_fire_at": following,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("recorded", "due"),
    [
        ([once("ACTIVE", NOON), once("COMPLETED", None)], [NOON]),
        ([once("COMPLETED", None), once("COMPLETED", None)], []),
        ([once("INVALID", None), once("COMPLETED", None)], []),
        ([once("ACTIVE", NOON), once("DELETED", None), once("COMPLETED", None)], [NOON]),
        ([row(0, "9s", 9), once("DELETED", None), once("COMPLETED", None)], []),
        ([once("COMPLETED", None), once("ACTIVE", NOON + SECOND, NOON + SECOND)], [NOON + SECOND]),
    ],
    ids=["here", "elsewhere", "elsewhere, of no handler", "here, then gone", "while gone", "given a time of its own"],
)
def test_a_one_shot_is_due_unless_it_had_fired_elsewhere_when_its_job_began(
    recorded: list[dict[str, Any]], due: list[datetime]
) -> None:
    assert due_moments(read_history(recorded).segments, NOON - MINUTE, NOON + 5 * MINUTE) == due


DAYS = {date(2026, 11, day): False for day in (10, 20, 21, 22, 23, 24, 25, 26)}


@pytest.mark.parametrize(
    ("days", "first"),
    [
        (DAYS, 20),  # the 10th is there because something in it still runs
        ({**DAYS, date(2026, 11, 20): True}, 21),
        ({day: False for day in DAYS if day.day != 24}, 20),  # no leader has made today yet
    ],
)
def test_history_is_kept_from_the_first_of_an_unbroken_row_of_days(days: dict[date, bool], first: int) -> None:
    assert kept_from(days, NOON) == datetime(2026, 11, first, tzinfo=UTC)


def test_a_log_without_days_keeps_nothing() -> None:
    assert kept_from({}, NOON) == NOON
