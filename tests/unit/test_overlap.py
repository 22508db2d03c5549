"""Overlap: what becomes of a run that finds another one of its job. One test a rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count, repeat

import pytest

from scheduledjobs.core import overlap
from scheduledjobs.core.job import NewExecution
from scheduledjobs.core.overlap import Live, _replaced, in_the_way, settle_overlap
from scheduledjobs.core.reasons import Reason, State, Trigger
from scheduledjobs.core.spec import ConcurrencyPolicy

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RUN = NewExecution(NOON, State.PENDING)
RUNNING = Live(7, is_pending=False)
QUEUED = Live(8, is_pending=True, is_held=True, reason="Queued")
BACKING_OFF = Live(9, is_pending=True, is_backing_off=True, reason="Retrying")
FORBID, ALLOW, QUEUE, REPLACE = (ConcurrencyPolicy(name) for name in ("Forbid", "Allow", "Queue", "Replace"))


def chain(length: int) -> list[NewExecution]:
    first = NewExecution(NOON, State.PENDING, trigger=Trigger.CATCH_UP)
    later = [
        NewExecution(NOON + n * MINUTE, State.PENDING, Reason.CATCHING_UP, Trigger.CATCH_UP, is_held=True)
        for n in range(1, length)
    ]
    return [first, *later]


def test_forbid_skips_a_moment_when_the_previous_run_has_not_ended() -> None:
    (row,) = settle_overlap(FORBID, [RUN], [RUNNING], repeat(None)).rows
    assert (row.state, row.reason, row.blocked_by) == (State.SKIPPED, Reason.OVERLAP, 7)


def test_forbid_the_first_of_several_moments_stands_in_the_way_of_the_others() -> None:
    later = NewExecution(NOON + MINUTE, State.PENDING)
    first, second = settle_overlap(FORBID, [RUN, later], [], count(42)).rows
    assert (first.state, first.id) == (State.PENDING, 42)
    assert (second.reason, second.blocked_by) == (Reason.OVERLAP, 42)


def test_forbid_a_run_that_only_waits_for_backoff_gives_way() -> None:
    assert in_the_way(FORBID, [BACKING_OFF]) == (9,)
    assert in_the_way(FORBID, [BACKING_OFF, RUNNING]) == ()


def test_allow_lets_runs_overlap() -> None:
    assert settle_overlap(ALLOW, [RUN], [RUNNING], repeat(None)).rows == (RUN,)


def test_queue_holds_one_newcomer_and_skips_the_next() -> None:
    (held,) = settle_overlap(QUEUE, [RUN], [RUNNING], repeat(None)).rows
    assert (held.state, held.is_held, held.reason, held.blocked_by) == (State.PENDING, True, Reason.QUEUED, 7)
    (full,) = settle_overlap(QUEUE, [RUN], [RUNNING, QUEUED], repeat(None)).rows
    assert (full.state, full.reason, full.blocked_by) == (State.SKIPPED, Reason.QUEUE_FULL, 8)


def test_queue_a_run_that_waits_for_backoff_counts_as_live() -> None:
    (held,) = settle_overlap(QUEUE, [RUN], [BACKING_OFF], repeat(None)).rows
    assert held.is_held


def test_replace_stops_what_runs_and_holds_the_newcomer() -> None:
    outcome = settle_overlap(REPLACE, [RUN], [RUNNING], repeat(None))
    assert outcome.stop == (7,)
    assert (outcome.rows[0].reason, outcome.rows[0].is_held) == (Reason.REPLACING, True)


def test_replace_takes_the_place_of_what_has_not_started() -> None:
    assert in_the_way(REPLACE, [RUNNING, QUEUED, BACKING_OFF]) == (8, 9)
    (row,) = settle_overlap(REPLACE, [RUN], [], repeat(None)).rows
    assert not row.is_held


def test_replace_of_two_moments_at_once_the_newer_wins() -> None:
    later = NewExecution(NOON + MINUTE, State.PENDING)
    first, second = settle_overlap(REPLACE, [RUN, later], [], count(1)).rows
    assert (first.state, first.reason) == (State.SKIPPED, Reason.REPLACED)
    assert second.state is State.PENDING


def test_replace_of_many_moments_settles_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced: list[NewExecution] = []

    def give_way(row: NewExecution) -> NewExecution:
        replaced.append(row)
        return _replaced(row)

    monkeypatch.setattr(overlap, "_replaced", give_way)
    moments = [NewExecution(NOON + n * MINUTE, State.PENDING) for n in range(50)]
    rows = settle_overlap(REPLACE, moments, [RUNNING], count(1)).rows
    assert [row.fire_time for row in replaced] == [row.fire_time for row in moments[:-1]]
    assert [row.reason for row in rows] == [Reason.REPLACED] * 49 + [Reason.REPLACING]


def test_replace_takes_the_place_of_a_whole_catch_up_chain() -> None:
    later = NewExecution(NOON + 5 * MINUTE, State.PENDING)
    rows = settle_overlap(REPLACE, [*chain(3), later], [], count(1)).rows
    assert [row.reason for row in rows] == [Reason.REPLACED] * 3 + [None]
    assert [row.is_held for row in rows] == [False] * 4


def test_a_catch_up_chain_counts_as_one_run() -> None:
    rows = settle_overlap(QUEUE, chain(3), [RUNNING], count(1)).rows
    assert [row.state for row in rows] == [State.PENDING] * 3
    assert [row.reason for row in rows] == [Reason.QUEUED, Reason.CATCHING_UP, Reason.CATCHING_UP]
    in_chain = Live(2, is_pending=True, is_held=True, reason="CatchingUp")
    (newcomer,) = settle_overlap(QUEUE, [RUN], [RUNNING, in_chain], repeat(None)).rows
    assert newcomer.reason is Reason.QUEUED


def test_a_catch_up_chain_is_skipped_whole_when_forbidden() -> None:
    rows = settle_overlap(FORBID, chain(3), [RUNNING], count(1)).rows
    assert [(row.state, row.reason) for row in rows] == [(State.SKIPPED, Reason.OVERLAP)] * 3


def test_overlap_leaves_missed_rows_alone() -> None:
    missed = NewExecution(NOON, State.MISSED, Reason.COALESCED)
    assert settle_overlap(FORBID, [missed], [RUNNING], repeat(None)).rows == (missed,)
