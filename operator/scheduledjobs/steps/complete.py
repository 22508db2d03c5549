"""Complete: write how attempts ended, in batches, and free their slots only then.

One writer: while a batch is on its way the next one gathers, so batches are small when the replica is idle and large
when it is busy, without a timer. What cannot be written is kept and tried again; the claim number decides whether it
still counts. One whose row somebody else has locked waits aside, and holds its slot; the others do not wait for it.
A failure that is written long after its end is noted as well, since whoever notices failures looks for recent ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from itertools import islice, takewhile
from random import random
from typing import Any
from uuid import UUID

import orjson
import structlog

from scheduledjobs.core.backoff import next_attempt_in
from scheduledjobs.core.grouping import AWAITED_AFTER
from scheduledjobs.core.reasons import FAILURE_STATES, Reason, State
from scheduledjobs.core.result import plain
from scheduledjobs.errors import StoreBusy, StoreUnavailable
from scheduledjobs.handlers.assignment import Assignment, Ending, Key
from scheduledjobs.store.executions import (
    complete_executions,
    find_ended_claims,
    find_locked,
    hand_over_executions,
    insert_attempts,
    insert_outputs,
    return_abandoned,
)
from scheduledjobs.store.notices import insert_awaited
from scheduledjobs.store.sessions import Connection, Sessions

log = structlog.get_logger(__name__)

BATCH = 500
LOOK_SECONDS = 1.0
"""How often rows that somebody else has locked are looked at again."""


class Complete:
    """The endings of one replica on their way into the log."""

    def __init__(
        self,
        sessions: Sessions,
        on_written: Callable[[Sequence[Ending], Sequence[Ending], Set[int]], None],
        on_returned: Callable[[Sequence[Assignment], Set[int]], None],
        randomness: Callable[[], float] = random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_written(endings, stale, retried)` is told what was written, what came too late and was discarded, and
        the ids of those that wait for another attempt; `on_returned(assignments, retried)` likewise, when the log knows
        that abandoned code has returned."""
        self._random = randomness
        self._monotonic = monotonic
        self._on_returned = on_returned
        self._waiting: dict[Key, tuple[Ending, float]] = {}
        self._sessions = sessions
        self._on_written = on_written
        self._endings: dict[Key, tuple[UUID, Ending]] = {}
        self._returned: dict[Key, tuple[UUID, Assignment]] = {}
        self._locked: dict[Key, dict[str, Any]] = {}
        """The guards of those whose row somebody else has locked."""
        self._look_at = 0.0
        self._batch = BATCH
        self.wake = asyncio.Event()
        self.replica: UUID | None = None
        """Under which id attempts that end now were claimed."""

    @property
    def unwritten(self) -> int:
        """How many slots are still taken by endings that are not in the log."""
        return len(self._endings)

    @property
    def unwritten_claims(self) -> set[Key]:
        """The (id, claim_no) of the endings that are not in the log yet."""
        return set(self._endings)

    def add(self, endings: Sequence[Ending]) -> None:
        """Take endings from the runner."""
        if self.replica is not None:
            self._endings.update((ending.assignment.key, (self.replica, ending)) for ending in endings)
        self.wake.set()

    def add_returned(self, assignments: Sequence[Assignment]) -> None:
        """Take attempts whose abandoned thread has returned."""
        if self.replica is not None:
            self._returned.update((assignment.key, (self.replica, assignment)) for assignment in assignments)
        self.wake.set()

    async def step(self) -> float | None:
        """Write one batch; return 0 while there is more."""
        if self._locked and self._monotonic() >= self._look_at:
            await self._look_at_locked()
        if batch := self._next_batch():
            await self._write(*batch)
        if ready := self._next_returned():
            await self._write_returned(*ready)
        if any(key not in self._locked for key in self._endings) or self._next_returned():
            return 0.0
        return LOOK_SECONDS if self._locked else None

    def _next_batch(self) -> tuple[UUID, list[Ending]] | None:
        free = (entry for key, entry in self._endings.items() if key not in self._locked)
        first = next(free, None)
        if first is None:
            return None
        same = takewhile(lambda entry: entry[0] == first[0], free)
        return first[0], [first[1], *(ending for _, ending in islice(same, self._batch - 1))]

    async def _write(self, replica: UUID, endings: Sequence[Ending]) -> None:
        try:
            written = await self._complete(replica, endings)
        except StoreBusy:
            if await self._set_locked_aside([ending.assignment for ending in endings]):
                return
            if len(endings) == 1:
                key = endings[0].assignment.key
                self._endings[key] = self._endings.pop(key)  # behind the others
                raise
            self._batch = len(endings) // 2  # a lock on something else, or so many at once take too long
            return
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 what one ending holds must not stop the others, whatever it is
            self._set_apart(endings, error)
            return
        stale = [ending for ending in endings if ending.assignment.id not in written]
        if stale:
            async with self._sessions.session() as conn:
                ended = await find_ended_claims(conn, replica, [ending.assignment.guard for ending in stale])
            stale = [ending for ending in stale if ending.assignment.id not in ended]
        for ending in endings:
            del self._endings[ending.assignment.key]
        self._batch = BATCH
        self._on_written(endings, stale, {key for key, state in written.items() if state == State.PENDING})

    async def _set_locked_aside(self, assignments: Sequence[Assignment]) -> bool:
        """Set those aside whose row is locked; return whether there are any: it may be another lock, or be gone."""
        async with self._sessions.session() as conn:
            found = await find_locked(conn, [assignment.guard for assignment in assignments])
        if found:
            self._locked |= {assignment.key: assignment.guard for assignment in assignments if assignment.id in found}
            self._look_at = self._monotonic() + LOOK_SECONDS
            log.warning("somebody else has locked rows: how they ended waits", count=len(found))
        return bool(found)

    async def _look_at_locked(self) -> None:
        self._look_at = self._monotonic() + LOOK_SECONDS
        async with self._sessions.session() as conn:
            found = await find_locked(conn, list(self._locked.values()))
        self._locked = {key: guard for key, guard in self._locked.items() if guard["id"] in found}

    async def _complete(self, replica: UUID, endings: Sequence[Ending]) -> dict[int, str]:
        handed = [ending for ending in endings if ending.state is State.PENDING]
        if handed:
            endings = [ending for ending in endings if ending.state is not State.PENDING]
            over = await self._hand_over(replica, handed)
            return {**over, **(await self._complete(replica, endings) if endings else {})}
        rows = [_row(ending, self._retry_seconds(ending)) for ending in endings]
        late = [ending for ending in endings if ending.state in FAILURE_STATES and self._is_late(ending)]
        if not late and not any(
            ending.output or row["retry_seconds"] is not None for ending, row in zip(endings, rows, strict=True)
        ):
            async with self._sessions.session() as conn:
                return await complete_executions(conn, replica, rows)
        async with self._sessions.transaction() as conn:
            written = await complete_executions(conn, replica, rows)
            outputs = [_output(ending) for ending in endings if ending.output and ending.assignment.id in written]
            if outputs:
                await insert_outputs(conn, outputs)
            followed = [_attempt(replica, e) for e in endings if written.get(e.assignment.id) == State.PENDING]
            if followed:
                await insert_attempts(conn, followed)
            await _await_late(conn, late, written)
        return written

    def _is_late(self, ending: Ending) -> bool:
        """Whether it ended so long ago that who looks for what has ended may be past it."""
        return ending.assignment.at(self._monotonic()) - ending.finished_at > AWAITED_AFTER

    async def _hand_over(self, replica: UUID, endings: Sequence[Ending]) -> dict[int, str]:
        """Together with what they have logged: whoever claims them next reads that, and goes on after it."""
        async with self._sessions.transaction() as conn:
            over = await hand_over_executions(conn, replica, map(_over, endings))
            outputs = [_output(ending) for ending in endings if ending.output and ending.assignment.id in over]
            if outputs:
                await insert_outputs(conn, outputs)
        left = {ending.assignment.id for ending in endings if ending.retry_after is not None}
        if over - left:  # of the others it is told one by one
            log.warning("executions handed over from their replica", count=len(over - left))
        return dict.fromkeys(over, Reason.HANDED_OVER)

    def _retry_seconds(self, ending: Ending) -> float | None:
        """How long the next attempt waits, None if there is none; an abandoned one is asked when it returns."""
        assignment = ending.assignment
        wait = next_attempt_in(
            assignment.retry, ending.state, ending.reason, assignment.attempt, self._random(), ending.retry_after
        )
        if wait is not None and ending.abandoned:
            self._waiting[assignment.key] = ending, wait.total_seconds()
        return None if wait is None else wait.total_seconds()

    def _set_apart(self, endings: Sequence[Ending], error: Exception) -> None:
        """One ending that cannot be written must not hold up the others: find it, then write its state alone.

        If even that is refused, so is the wait that its handler asked for; then it goes behind the others and is tried
        again.
        """
        if len(endings) > 1:
            self._batch = 1
            return
        (ending,) = endings
        key = ending.assignment.key
        replica, _ = self._endings[key]
        log.error(
            "ending cannot be recorded",
            namespace=ending.assignment.namespace,
            job=ending.assignment.job_name,
            execution_id=ending.assignment.id,
            error=plain(str(error)),
        )
        message = plain(f"its result or output could not be recorded: {error}")[:512]
        is_bare = ending.result is None and not ending.output and ending.traceback is None
        asked = None if is_bare else ending.retry_after
        bare = replace(ending, result=None, output="", traceback=None, message=message, retry_after=asked)
        if is_bare and ending.retry_after is None:
            del self._endings[key]
            self._endings[key] = replica, bare
            raise error
        self._endings[key] = replica, bare

    def _next_returned(self) -> tuple[UUID, list[Assignment]] | None:
        """Abandoned code that has returned, and whose ending is in the log: before it is, nothing would change."""
        ready = [one for key, one in self._returned.items() if key not in self._endings and key not in self._locked]
        if not ready:
            return None
        replica = ready[0][0]
        return replica, [assignment for owner, assignment in ready if owner == replica]

    async def _write_returned(self, replica: UUID, batch: Sequence[Assignment]) -> None:
        try:
            async with self._sessions.transaction() as conn:
                states = await return_abandoned(conn, replica, [self._returned_row(assignment) for assignment in batch])
                followed = self._followed(replica, batch, states)
                if followed:
                    await insert_attempts(conn, followed)
        except StoreBusy:
            if not await self._set_locked_aside(batch):
                raise
            return
        for assignment in batch:
            self._returned.pop(assignment.key)
            self._waiting.pop(assignment.key, None)
        self._on_returned(batch, {row["execution_id"] for row in followed})

    def _followed(self, replica: UUID, batch: Sequence[Assignment], states: Mapping[int, str]) -> list[dict[str, Any]]:
        """Return the attempts that another one follows."""
        endings = [self._waiting[a.key][0] for a in batch if states.get(a.id) == State.PENDING]
        return [_attempt(replica, ending) for ending in endings]

    def _returned_row(self, assignment: Assignment) -> dict[str, Any]:
        _, waits = self._waiting.get(assignment.key, (None, None))
        return {**assignment.guard, "job_id": assignment.job_id, "retry_seconds": waits}


async def _await_late(conn: Connection, late: Sequence[Ending], written: Mapping[int, str]) -> None:
    """Note those of these that are failures now; last of all, for every replica writes to the same row."""
    fire_times = {one.assignment.id: one.assignment.fire_time for one in late}
    failed = {id_: at for id_, at in fire_times.items() if written.get(id_) in FAILURE_STATES}
    if failed:
        await insert_awaited(conn, failed)


def _attempt(replica: UUID, ending: Ending) -> dict[str, Any]:
    return {
        "fire_time": ending.assignment.fire_time,
        "execution_id": ending.assignment.id,
        "attempt": ending.assignment.attempt,
        "state": ending.state,
        "error": ending.message,
        "traceback": ending.traceback,
        "started_at": ending.started_at,
        "finished_at": ending.finished_at,
        "replica": replica,
    }


def _row(ending: Ending, retry_seconds: float | None) -> dict[str, Any]:
    took = ending.finished_at - ending.started_at
    return {
        **ending.assignment.guard,
        "job_id": ending.assignment.job_id,
        "retry_seconds": retry_seconds,
        "state": ending.state,
        "reason": ending.reason,
        "message": ending.message,
        "result": _json(ending.result),
        "started_at": ending.started_at,
        "finished_at": ending.finished_at,
        "duration_ms": round(took.total_seconds() * 1000),
        "abandoned": ending.abandoned,
    }


def _over(ending: Ending) -> dict[str, Any]:
    row = {**ending.assignment.guard, "note": _json(ending.result)}
    wait = ending.retry_after
    return row if wait is None else {**row, "message": ending.message, "wait_seconds": wait.total_seconds()}


def _json(result: bytes | None) -> orjson.Fragment | None:
    return None if result is None else orjson.Fragment(result)


def _output(ending: Ending) -> dict[str, Any]:
    return {
        "fire_time": ending.assignment.fire_time,
        "execution_id": ending.assignment.id,
        "attempt": ending.assignment.attempt,
        "output": ending.output,
        "truncated": ending.output_truncated,
    }
