"""Executions in SQL: inserted by the leader, claimed and completed by any replica. One function a statement."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from types import MappingProxyType
from typing import Any
from uuid import UUID

from psycopg import AsyncCursor
from psycopg.rows import dict_row

from scheduledjobs.store.queries import Row, batch, execute, fetch_all, fetch_one, send
from scheduledjobs.store.sessions import Connection

WORK = "scheduledjobs_work"
"""Channel: executions wait to be claimed."""

ENDED = "scheduledjobs_ended"
"""Channel: executions ended that the leader waits for."""

SPECS = "scheduledjobs_specs"
"""Channel: the spec of a version is another one than it was."""

STOP = "scheduledjobs_stop"
"""Channel: running executions are asked to stop."""

FREE = "scheduledjobs_free"
"""Channel: a leader has released the Lease."""

CHANGED = "scheduledjobs_changed"
"""Channel: something that people look at has changed; sent seldom, so it says nothing of what or how much."""

NO_LIMITS: Mapping[str, int] = MappingProxyType({})
MOST_SPARE = 100
"""A fair claim looks at up to so many more than its slots, at most four times as many, to find enough where others are
claiming at the same moment; what it looks at costs it about as much as what it takes."""


async def find_live_executions(conn: Connection, job_ids: Sequence[UUID]) -> list[Row]:
    """Return the executions of these jobs that have not ended, oldest first within a job."""
    return await fetch_all(conn, "find_live_executions", job_ids=list(job_ids))


async def end_waiting(conn: Connection, ids: Sequence[int], replacing: Sequence[UUID]) -> list[Row]:
    """End these waiting executions for newer ones, of jobs in `replacing` as replaced; return those that were free.

    Each with id, job_id, fire_time, state, reason and message.
    """
    return await fetch_all(conn, "end_waiting", ids=list(ids), replacing=list(replacing))


async def request_stops(conn: Connection, ids: Sequence[int]) -> int:
    """Ask that these running executions be stopped as replaced; return how many were asked now."""
    return len(await fetch_all(conn, "request_stops", ids=list(ids)))


async def reserve_execution_ids(conn: Connection, count: int) -> list[int]:
    """Return `count` ids that no other row will have, rising."""
    return [row["id"] for row in await fetch_all(conn, "reserve_execution_ids", count=count)]


async def insert_executions(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> AsyncCursor[Row]:
    """Insert rows as `steps.record.execution_row` makes them; return a cursor on those that are claimed, as
    claim_executions returns them. In a pipeline it can be read once that has ended."""
    cursor = conn.cursor(row_factory=dict_row)
    await send(cursor, "insert_executions", rows=batch(rows))
    return cursor


async def extend_ranges(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> set[UUID]:
    """Extend the open range row of each job; return the ids of the jobs that had one to extend."""
    return {row["job_id"] for row in await fetch_all(conn, "extend_ranges", rows=batch(rows))}


async def claim_executions(conn: Connection, replica: UUID, handlers: Sequence[str], slots: int) -> list[Row]:
    """Take up to `slots` executions for `replica`, of handlers it has; return what an attempt needs of each."""
    return await fetch_all(conn, "claim_executions", replica=replica, handlers=list(handlers), slots=slots)


async def claim_fairly(
    conn: Connection,
    replica: UUID,
    handlers: Sequence[str],
    slots: int,
    limit: int = 0,
    limits: Mapping[str, int] = NO_LIMITS,
) -> list[Row]:
    """As claim_executions, namespaces in turn and within the limits on what runs (0: none); see lock_claims.

    `limits` are those of namespaces; `*` is every other one.

    It may return fewer than `slots` though more wait: many others have just taken what it looked at.
    """
    return await fetch_all(
        conn,
        "claim_fairly",
        replica=replica,
        handlers=list(handlers),
        slots=slots,
        choice=slots + min(3 * slots, MOST_SPARE),
        limited=bool(limit or any(limits.values())),
        limits=json.dumps(dict(limits)) if any(limits.values()) else None,
        **{"global": limit},
    )


async def read_backlog(conn: Connection, most: int) -> Row:
    """Return waiting, how many executions may start and have not, at most `most`; and oldest_seconds of the oldest."""
    row = await fetch_one(conn, "read_backlog", most=most)
    assert row is not None  # noqa: S101 a count has one row
    return row


async def lock_claims(conn: Connection) -> None:
    """Let no other replica claim under a limit until the transaction ends; a statement before the one that counts."""
    await execute(conn, "lock_claims")


async def miss_unstarted(conn: Connection) -> list[Row]:
    """Close up to 1,000 executions that waited past their startingDeadline; return what end_waiting does of each, and
    the handler."""
    return await fetch_all(conn, "miss_unstarted")


def _in_id_order(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a batch by id: sessions with POINT_READS find its rows one after the other, and lock them in that order.

    Nobody is there yet with whom another order could end in a deadlock. A replica's rows are locked by its own batches,
    each of other rows; by the leader, who passes over what is locked; by a cancel, of one row; and by `restored`, in id
    order, while no replica runs. To sort costs less than to prove that again for each statement to come.
    """
    return batch(sorted(rows, key=itemgetter("id")))


async def complete_executions(conn: Connection, replica: UUID, rows: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    """Write how attempts of `replica` ended; return the state each now has, by id, where the claim still held."""
    found = await fetch_all(conn, "complete_executions", replica=replica, rows=_in_id_order(rows))
    return {row["id"]: row["state"] for row in found}


async def find_locked(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> set[int]:
    """Return the ids of those of these executions (id, fire_time) that somebody else has locked at this moment."""
    return {row["id"] for row in await fetch_all(conn, "find_locked", rows=batch(rows))}


async def lock_live_until(conn: Connection, until: datetime, most: int) -> list[Row]:
    """Lock up to `most` executions that have not ended and whose fire time is `until` or older; return them."""
    return await fetch_all(conn, "lock_live_until", until=until, most=most)


async def insert_attempts(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> int:
    """Keep attempts that another one follows; see the statement for the columns."""
    return await execute(conn, "insert_attempts", rows=batch(rows))


async def insert_outputs(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> int:
    """Keep the captured output of attempts: fire_time, execution_id, attempt, output, truncated."""
    return await execute(conn, "insert_outputs", rows=batch(rows))


async def find_outputs(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> dict[int, tuple[str, bool]]:
    """Return what is stored of what these attempts (id, fire_time, attempt) log, and whether it was cut, by id."""
    found = await fetch_all(conn, "find_outputs", rows=batch(rows))
    return {row["execution_id"]: (row["output"], row["truncated"]) for row in found}


async def hand_over_executions(conn: Connection, replica: UUID, rows: Iterable[Mapping[str, Any]]) -> set[int]:
    """Let others go on with attempts of `replica` (id, fire_time, claim_no, note; of one that it cannot go on with
    itself also message and wait_seconds, before which nobody claims it); return the ids that changed."""
    found = await fetch_all(conn, "hand_over_executions", replica=replica, rows=_in_id_order(rows))
    return {row["id"] for row in found}


async def write_notes(conn: Connection, replica: UUID, rows: Iterable[Mapping[str, Any]]) -> set[int]:
    """Keep what running attempts of `replica` note (id, fire_time, claim_no, note); return the ids that changed."""
    return {row["id"] for row in await fetch_all(conn, "write_notes", replica=replica, rows=batch(rows))}


async def write_outputs(conn: Connection, replica: UUID, rows: Iterable[Mapping[str, Any]]) -> set[int]:
    """Keep what running attempts of `replica` have logged so far: as for insert_outputs, and claim_no; return the ids
    of those that were written: the row of another was locked, or is no longer this replica's."""
    found = await fetch_all(conn, "write_outputs", replica=replica, rows=batch(rows))
    return {row["execution_id"] for row in found}


async def find_ended_claims(conn: Connection, replica: UUID, rows: Iterable[Mapping[str, Any]]) -> set[int]:
    """Return which of these claims (id, fire_time, claim_no) the log shows as ended under that very claim."""
    return {row["id"] for row in await fetch_all(conn, "find_ended_claims", replica=replica, rows=batch(rows))}


async def return_abandoned(conn: Connection, replica: UUID, rows: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    """Say that abandoned attempts have returned; return the state each now has, by id."""
    found = await fetch_all(conn, "return_abandoned", replica=replica, rows=_in_id_order(rows))
    return {row["id"]: row["state"] for row in found}


async def find_stops(conn: Connection, replica: UUID) -> list[Row]:
    """Return id, claim_no, cancel_reason and cancel_requested_by of what `replica` runs and should stop."""
    return await fetch_all(conn, "find_stops", replica=replica)


async def cancel_execution(conn: Connection, id: int, by: str) -> Row | None:  # noqa: A002 the column's name
    """Cancel an execution that waits, or ask for the stop of one that runs; None if it has ended or is not there."""
    return await fetch_one(conn, "cancel_execution", id=id, by=by, message=f"cancelled by {by} before it ran")


async def find_execution(conn: Connection, id: int) -> Row | None:  # noqa: A002 the column's name
    """Return id, state, reason, namespace, job_name and fire_time of an execution, or None."""
    return await fetch_one(conn, "find_execution", id=id)


async def find_owned_executions(conn: Connection, replica: UUID) -> list[Row]:
    """Return id, fire_time and claim_no of what the log says `replica` is running."""
    return await fetch_all(conn, "find_owned_executions", replica=replica)


async def hand_back_executions(conn: Connection, replica: UUID, rows: Iterable[Mapping[str, Any]]) -> set[int]:
    """Give back claims that were never started (id, fire_time, claim_no); return the ids that changed."""
    found = await fetch_all(conn, "hand_back_executions", replica=replica, rows=_in_id_order(rows))
    return {row["id"] for row in found}


async def notify(conn: Connection, channel: str, payload: str = "") -> None:
    """Wake whoever listens on `channel`; `conn` must be in autocommit."""
    await fetch_all(conn, "notify", channel=channel, payload=payload)
