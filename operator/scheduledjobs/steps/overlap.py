"""Overlap in SQL: what is live is read, what must give way is ended, then the newcomers are judged.

The caller has locked the jobs' rows in an earlier statement of the same transaction. Whatever is read here is read
after that, so two transactions of one job can never both find it idle. Rows of others are taken with SKIP LOCKED: one
that is being claimed at this moment counts as live.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import repeat
from uuid import UUID

from scheduledjobs.core.job import NewExecution
from scheduledjobs.core.overlap import Live, in_the_way, settle_overlap
from scheduledjobs.core.reasons import Reason, State
from scheduledjobs.core.spec import ConcurrencyPolicy
from scheduledjobs.store.executions import (
    end_waiting,
    find_live_executions,
    request_stops,
    reserve_execution_ids,
)
from scheduledjobs.store.sessions import Connection

Newcomers = tuple[ConcurrencyPolicy, Sequence[NewExecution]]


async def settle_overlaps(
    conn: Connection, newcomers: Mapping[UUID, Newcomers]
) -> dict[UUID, tuple[NewExecution, ...]]:
    """Return the rows of each job (by id) as they are to be inserted, having ended or stopped what they replace."""
    guarded = {
        job_id: policy
        for job_id, (policy, rows) in newcomers.items()
        if policy is not ConcurrencyPolicy.ALLOW and _runs(rows)
    }
    live = await _live(conn, list(guarded)) if guarded else {}
    live, replaced = await _clear_the_way(conn, guarded, live)
    ids = await _ids(conn, [rows for job_id, (_, rows) in newcomers.items() if job_id in guarded])
    settled: dict[UUID, tuple[NewExecution, ...]] = {}
    stops: list[int] = []
    for job_id, (policy, rows) in newcomers.items():
        numbers: Iterator[int | None] = ids if job_id in guarded and _runs(rows) > 1 else repeat(None)
        outcome = settle_overlap(policy, rows, live.get(job_id, ()), numbers)
        settled[job_id] = _naming(outcome.rows, replaced.get(job_id, ()))
        stops += outcome.stop
    if stops:
        await request_stops(conn, sorted(stops))
    return settled


def _naming(rows: tuple[NewExecution, ...], replaced: Sequence[datetime]) -> tuple[NewExecution, ...]:
    """Have the newest row tell what was skipped for it."""
    return (*rows[:-1], replace(rows[-1], replaced=tuple(replaced))) if replaced else rows


def _runs(rows: Sequence[NewExecution]) -> int:
    return sum(row.state is State.PENDING for row in rows)


async def _live(conn: Connection, job_ids: Sequence[UUID]) -> dict[UUID, list[Live]]:
    found: dict[UUID, list[Live]] = {}
    for row in await find_live_executions(conn, job_ids):
        waits = row["state"] == State.PENDING and row["reason"] != Reason.HANDED_OVER  # else its work goes on
        run = Live(row["id"], waits, row["is_held"], row["is_backing_off"], row["reason"])
        found.setdefault(row["job_id"], []).append(run)
    return found


async def _clear_the_way(
    conn: Connection, guarded: Mapping[UUID, ConcurrencyPolicy], live: dict[UUID, list[Live]]
) -> tuple[dict[UUID, list[Live]], dict[UUID, list[datetime]]]:
    """End the waiting runs that a newcomer supersedes or replaces.

    Return what is live after that, and the fire times of what was only held, and is skipped.
    """
    waiting = {job_id: in_the_way(guarded[job_id], runs) for job_id, runs in live.items()}
    ids = sorted(number for numbers in waiting.values() for number in numbers)
    if not ids:
        return live, {}
    rows = await end_waiting(conn, ids, [job_id for job_id, policy in guarded.items() if policy in REPLACING])
    ended = {row["id"] for row in rows}
    replaced: dict[UUID, list[datetime]] = {}
    for row in rows:
        if row["state"] == State.SKIPPED:
            replaced.setdefault(row["job_id"], []).append(row["fire_time"])
    return {job_id: [run for run in runs if run.id not in ended] for job_id, runs in live.items()}, replaced


REPLACING = frozenset({ConcurrencyPolicy.REPLACE})


async def _ids(conn: Connection, batches: Sequence[Sequence[NewExecution]]) -> Iterator[int]:
    """Reserve ids for the rows of jobs that insert several runs at once, since these name each other."""
    count = sum(_runs(rows) for rows in batches if _runs(rows) > 1)
    return iter(await reserve_execution_ids(conn, count) if count else ())
