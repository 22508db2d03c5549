"""Claim: take waiting executions for this replica's free slots and hand them to the runner.

Woken by NOTIFY, by a slot that became free and by this replica's own fires; a poll stands behind all three. Nothing is
claimed that could not start at once, and nothing is started once the replica no longer trusts itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict
from uuid import UUID

import structlog

from scheduledjobs import metrics
from scheduledjobs.core.reasons import Reason, ScheduleKind, Trigger
from scheduledjobs.core.spec import ConcurrencyPolicy, MisfirePolicy, Retry
from scheduledjobs.errors import SpecError, StoreBusy
from scheduledjobs.handlers.assignment import Assignment
from scheduledjobs.handlers.runner import Runner
from scheduledjobs.steps.complete import Complete
from scheduledjobs.steps.specs import Read, Specs, Version
from scheduledjobs.steps.stops import stop_of
from scheduledjobs.store.executions import (
    NO_LIMITS,
    claim_executions,
    claim_fairly,
    find_outputs,
    find_owned_executions,
    hand_back_executions,
    lock_claims,
)
from scheduledjobs.store.queries import Row
from scheduledjobs.store.sessions import Connection, Sessions

log = structlog.get_logger(__name__)

TRIGGERS = {str(trigger): trigger for trigger in Trigger}
HOLDING = frozenset({ConcurrencyPolicy.QUEUE, ConcurrencyPolicy.REPLACE})
POLL_SECONDS = 1.0
NO_RETRY = Retry()
RECONCILE_SECONDS = 10.0
UNSURE_SECONDS = 1.0
"""How long a COMMIT whose answer was lost may still be on its way to the log: then it is looked for once more."""

LOOK_SECONDS = 0.1
ALONE_SECONDS = 0.5
"""Where one namespace alone waits, turns are asked for so seldom: they cost several times what a quick claim does."""

QUICK_SECONDS = 10.0
"""How long no turns are asked for after a claim that asked for them was given up: the server is too slow for them."""


class Given(TypedDict):
    """What attempts of one version of a job have in common."""

    payload: Mapping[str, Any]
    timeout: timedelta | None
    retry: Retry
    is_awaited: bool
    refusal: str | None


class Claim:
    """The claims of one replica; `replica` changes when it registers anew."""

    def __init__(
        self,
        sessions: Sessions,
        runner: Runner,
        complete: Complete,
        specs: Specs,
        handlers: Sequence[str],
        may_start: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
        *,
        on_claimed: Callable[[], None] = lambda: None,
        limit: int = 0,
        limits: Mapping[str, int] = NO_LIMITS,
    ) -> None:
        """`limit` bounds what runs at once on all replicas together, and `limits` what each namespace has of it; `*` is
        every other namespace, 0 no limit.

        `on_claimed` is called for each batch that was taken.
        """
        self._on_claimed = on_claimed
        self._limit = limit
        self._limits = limits
        self._is_limited = bool(limit or any(limits.values()))
        self._is_contended = False
        self._may_wait = True
        """Whether more may wait than the last claim took."""

        self._reserved = self._asked = 0
        """Slots for what is being inserted, and for what a claim on its way may bring."""
        self._unsure_until = 0.0
        self._was_fair = False
        self._quick_until = 0.0
        self._sessions = sessions
        self._runner = runner
        self._complete = complete
        self._specs = specs
        self._handlers = handlers
        self._may_start = may_start
        self._monotonic = monotonic
        self._reconcile_at = 0.0
        self._is_unanswered = False
        """Whether the answer to a claim was lost."""

        self.wake = asyncio.Event()
        self.is_draining = False
        self.is_drained = False
        """True once nothing is claimed any more and nothing claimed is left unseen."""

        self.replica: UUID | None = None

    async def step(self) -> float | None:
        """Claim for every free slot; return 0 if there may be more to claim, else None for the poll interval."""
        is_blocked = self._runner.is_blocked()
        if is_blocked and self.replica is not None:
            await self.take_back(self.replica)
        if self.is_draining:
            await self._end()
            return None if self.is_drained else LOOK_SECONDS
        if is_blocked or self.replica is None or not self._may_start():
            return None
        if self._must_reconcile and not self._reserved:
            await self.reconcile(self.replica)
        free, many_wait = self._free, self._may_wait
        self._may_wait = free <= 0
        if free <= 0:
            return None
        # Where more waits than was taken, for every slot. Else half of them stay for what is inserted meanwhile, which
        # would have to wait for the next claim, as would what comes during that.
        asked = free if many_wait or self._is_limited else free - free // 2
        claimed = await self.claim(self.replica, asked)
        self._may_wait = self._is_limited or self._was_fair or len(claimed) == asked
        if len(claimed) == asked:
            return 0.0 if free > 1 else None
        # A fair claim comes short where others took what it had chosen, too; the quick one that follows finds the rest.
        return 0.0 if self._was_fair else None

    @property
    def _free(self) -> int:
        return self._runner.free_slots - self._complete.unwritten - self._reserved - self._asked

    @property
    def _must_reconcile(self) -> bool:
        return self._is_unanswered or self._monotonic() >= self._reconcile_at

    def slots_freed(self, *, is_more: bool) -> None:
        """Slots became free: claim for them where anything may wait, as it surely does if `is_more`."""
        if is_more or self._may_wait:
            self.wake.set()

    def reserve(self, handlers: Iterable[str], count: int) -> UUID | None:
        """Keep slots for rows that are about to be inserted as claimed; return the id to claim them with, or None.

        None unless they can begin at once, nothing else waits for a slot, and nobody is looking for claims that this
        replica does not know of: it would find these before they are known.
        """
        is_able = not (self.is_draining or self._may_wait or self._is_limited or self._runner.is_blocked())
        if not is_able or self._must_reconcile or not self._may_start() or count > self._free:
            return None
        if self.replica is not None and set(self._handlers).issuperset(handlers):
            self._reserved += count
            return self.replica
        return None

    def give_up(self, count: int) -> None:
        """Let go of slots that were kept, for rows of which nobody knows whether they were written."""
        self._reserved -= count
        self._unsure_until = self._monotonic() + UNSURE_SECONDS
        self._reconcile_at = 0.0
        self.wake.set()

    async def begin(self, replica: UUID, rows: Sequence[Row], sent_at: float, count: int) -> None:
        """Begin what was inserted as claimed, in slots that were kept for it."""
        try:
            await self._begin(replica, rows, sent_at)
        except BaseException:
            self.give_up(count)
            raise
        self._reserved -= count

    async def _begin(self, replica: UUID, rows: Sequence[Row], sent_at: float) -> None:
        versions = {_version(row) for row in rows}
        specs = self._specs.sure(versions)
        if specs is None:
            async with self._sessions.session() as conn:
                specs = await self._specs.learn(conn, versions)
        await self._submit(replica, rows, specs, sent_at)

    def drain(self) -> None:
        """From now on claim nothing; the next step gives back what a claim on its way may have brought unseen."""
        self.is_draining = True
        self.wake.set()

    async def _end(self) -> None:
        """Nothing may be left RUNNING that was never started: once this replica has gone, it would be LOST."""
        if self.replica is not None and not self.is_drained:
            await self.reconcile(self.replica)
        self.is_drained = self._monotonic() >= self._unsure_until

    async def claim(self, replica: UUID, slots: int) -> list[Assignment]:
        """Claim up to `slots` executions and start them; return what was claimed."""
        sent_at, self._asked, self._was_fair = self._monotonic(), slots, False
        try:
            async with self._sessions.session() as conn:
                rows = await self._take(conn, replica, slots)
                specs = await self._specs.learn(conn, {_version(row) for row in rows})
                await _learn_outputs(conn, rows)
        except BaseException as error:
            self._is_unanswered = True  # what it took is looked for
            if self._was_fair and isinstance(error, StoreBusy):
                self._quick_until = self._monotonic() + QUICK_SECONDS
            raise
        finally:
            self._asked = 0
        self._is_contended = len(rows) == slots
        return await self._submit(replica, rows, specs, sent_at)

    async def _submit(
        self, replica: UUID, rows: Sequence[Row], specs: Mapping[Version, Read | SpecError], sent_at: float
    ) -> list[Assignment]:
        """Start what was claimed, or give it back where nothing may be started any more."""
        if not rows:
            return []
        given = {version: _given(version, specs.get(version)) for version in {_version(row) for row in rows}}
        assignments = [self._assignment(row, given[_version(row)], sent_at) for row in rows]
        self._on_claimed()
        if self.replica == replica and self._may_start() and not self.is_draining:
            self._runner.submit(assignments)
        else:
            await self.hand_back(replica, [_key(row) for row in rows])
        return assignments

    async def _take(self, conn: Connection, replica: UUID, slots: int) -> list[Row]:
        """Take what waits. Its order matters only while more waits than can run: then namespaces take turns."""
        if self._is_limited:
            async with conn.transaction():
                await lock_claims(conn)
                return await claim_fairly(conn, replica, self._handlers, slots, self._limit, self._limits)
        now = self._monotonic()
        self._was_fair = self._is_contended and now >= self._quick_until
        if not self._was_fair:
            return await claim_executions(conn, replica, self._handlers, slots)
        rows = await claim_fairly(conn, replica, self._handlers, slots)
        in_turn = [row["namespace"] for row in rows if row["reason"] != Reason.HANDED_OVER]  # which goes before all
        if len(rows) == slots and len(in_turn) > 1 and len(set(in_turn)) == 1:
            self._quick_until = now + ALONE_SECONDS  # any other that waited would have had its turn
        return rows

    async def reconcile(self, replica: UUID) -> None:
        """Give back what the log says this replica runs and the replica does not know of."""
        held = {a.key for a in self._runner.running} | self._complete.unwritten_claims
        async with self._sessions.session() as conn:
            owned = await find_owned_executions(conn, replica)
        unknown = [_key(row) for row in owned if (row["id"], row["claim_no"]) not in held]
        if unknown:
            await self.hand_back(replica, unknown)
        self._is_unanswered = False
        now = self._monotonic()
        self._reconcile_at = self._unsure_until if now < self._unsure_until else now + RECONCILE_SECONDS

    async def take_back(self, replica: UUID) -> None:
        """Where a handler blocks the loop of all, give what has not begun to replicas that can begin it."""
        taken = self._runner.take_back()
        if taken:
            running = sorted({assignment.handler for assignment in self._runner.running})
            log.warning(
                "a handler blocks the loop of async handlers: nothing is claimed until it ends", handlers=running
            )
            await self.hand_back(replica, [assignment.guard for assignment in taken])

    async def hand_back(self, replica: UUID, rows: Sequence[dict[str, Any]]) -> None:
        """Give back claims that were never started."""
        async with self._sessions.session() as conn:
            given = await hand_back_executions(conn, replica, rows)
        metrics.repairs("handed_back").inc(len(given))
        log.warning("claims handed back unstarted", count=len(given))

    def _assignment(self, row: Row, given: Given, sent_at: float) -> Assignment:
        is_handed_over = row["reason"] == Reason.HANDED_OVER
        return Assignment(
            id=row["id"],
            fire_time=row["fire_time"],
            job_id=row["job_id"],
            namespace=row["namespace"],
            job_name=row["job_name"],
            version=row["version"],
            run_key=row["run_key"],
            attempt=row["attempt"],
            trigger=TRIGGERS[row["trigger"]],
            claim_no=row["claim_no"],
            handler=row["handler"],
            payload=row["payload"] if row["payload"] is not None else given["payload"],
            timeout=given["timeout"],
            retry=given["retry"],
            missed_count=row["missed_count"],
            first_missed_at=row["first_missed_at"],
            claimed_at=row["claimed_at"],
            received_at=sent_at,
            due_at=row["due_at"],
            replica=self.replica,
            started_at=row["started_at"] if is_handed_over else None,
            noted=row["result"] if is_handed_over else None,
            logged=row.get("logged"),
            stop=stop_of(row) if row["cancel_reason"] else None,
            is_awaited=given["is_awaited"],
            refusal=given["refusal"],
        )


def _given(version: Version, found: Read | SpecError | None) -> Given:
    if found is None or isinstance(found, SpecError):
        why = "it is not in the log" if found is None else found.message
        refusal = f"version {version[1]} of the spec cannot be read by this replica: {why}"
        # Awaited: who waits for its end, if anybody, is not known either.
        return {"payload": {}, "timeout": None, "retry": NO_RETRY, "is_awaited": True, "refusal": refusal}
    spec, schedule = found
    holds = spec.concurrency_policy in HOLDING or spec.misfire.policy is MisfirePolicy.FIRE_ALL
    is_awaited = holds or schedule.kind is ScheduleKind.FIXED_DELAY
    return {
        "payload": spec.payload,
        "timeout": spec.timeout,
        "retry": spec.retry,
        "is_awaited": is_awaited,
        "refusal": None,
    }


async def _learn_outputs(conn: Connection, rows: Sequence[Row]) -> None:
    """Add to what was handed over what it has logged: its output is written whole, and would else begin anew."""
    handed = [row for row in rows if row["reason"] == Reason.HANDED_OVER]
    if handed:
        names = ("id", "fire_time", "attempt")
        logged = await find_outputs(conn, [{name: row[name] for name in names} for row in handed])
        for row in handed:
            row["logged"] = logged.get(row["id"])


def _version(row: Row) -> Version:
    return row["job_id"], row["version"]


def _key(row: Row) -> dict[str, Any]:
    return {"id": row["id"], "fire_time": row["fire_time"], "claim_no": row["claim_no"]}
