"""Fire: decide due moments by inserting execution rows, many jobs a transaction, each exactly once.

The leader looks ahead: it loads the jobs due in the next seconds, waits for the soonest on a local timer, and fires
all that are due in one batch. What is later than its grace is made up a few jobs at a time, after what is on time.
A fire is one transaction, in this order:

1. the term is checked (a leader that was replaced writes nothing);
2. the jobs' plans move by compare-and-set, which refuses to be early by the database's own clock;
3. in a later statement, what is live is read for the jobs that moved, and their rows are inserted.

A job that did not move was changed by somebody, or it is not due yet: it is loaded again. A batch that fails, for
whatever reason, is halved until the job that cannot be fired stands alone; that job is reported and tried again later,
the others fire. So is one that cannot even be read.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from scheduledjobs.core.decide import decide, newest_due
from scheduledjobs.core.job import Decision, Job, JobName, NewExecution
from scheduledjobs.core.reasons import JobState
from scheduledjobs.core.spec import MisfirePolicy
from scheduledjobs.errors import StoreUnavailable, TermLost
from scheduledjobs.steps.clock import Clock
from scheduledjobs.steps.record import Days, record
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.jobs import advance_jobs, load_due_jobs, load_jobs
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.queries import Row

log = structlog.get_logger(__name__)

HORIZON = timedelta(seconds=10)
RELOAD_SECONDS = 4.0
LONGEST_TIMER_SECONDS = 1.0
MOST_LOADED = 20_000
BATCH = 500
LATE_ROWS = 300
"""About how many rows the late jobs may write between two looks at what is on time."""

RETRY_SECONDS = 30.0
FIRING = frozenset({JobState.ACTIVE})
SKIPPING = frozenset({JobState.SUSPENDED, JobState.INVALID})
"""States whose moments only lengthen a range row: a slow sweep is enough for them."""


class Late:
    """Jobs whose moments are to be made up: a herd of them must not delay what is on time, so a few at a time.

    Those that write few rows go first; a job that waits is known by its newest plan.
    """

    def __init__(self) -> None:
        self._jobs: dict[UUID, Job] = {}
        self._queue: list[tuple[int, float, UUID]] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> None:
        """Take a job in, or its newer plan."""
        assert job.next_due_at is not None  # noqa: S101 only jobs that are due are late
        if job.id not in self._jobs:
            heapq.heappush(self._queue, (most_rows(job), job.next_due_at.timestamp(), job.id))
        self._jobs[job.id] = job

    def take(self, rows: int) -> list[Job]:
        """Return and remove the next jobs, together not over so many rows, but one at least."""
        taken: list[Job] = []
        while self._queue and (not taken or rows >= self._queue[0][0]):
            cost, _, job_id = heapq.heappop(self._queue)
            taken.append(self._jobs.pop(job_id))
            rows -= cost
        return taken


def most_rows(job: Job) -> int:
    """Return about how many rows the making up of a job writes."""
    return job.misfire.limit if job.misfire.policy is MisfirePolicy.FIRE_ALL else 2


class Fire:
    """The look-ahead of one term, and the step that fires what is due of it."""

    def __init__(
        self,
        leader: Leader,
        clock: Clock,
        specs: Specs,
        retention: timedelta,
        on_fired: Callable[[Sequence[Job], Sequence[tuple[Job, NewExecution]]], None],
        on_failed: Callable[[JobName, Exception], None],
    ) -> None:
        self._leader = leader
        self._clock = clock
        self._specs = specs
        self._retention = retention
        self._on_fired = on_fired
        self._on_failed = on_failed
        self._days = Days()
        self._planned: dict[UUID, Job] = {}
        self._queue: list[tuple[float, UUID]] = []
        self._late = Late()
        self._not_before: dict[UUID, float] = {}
        self._reload_at = 0.0
        self.wake = asyncio.Event()
        self.may_fire_old = False
        """False until the term's first complete compare: an old moment may belong to a job that is gone."""

    async def step(self) -> float:
        """Fire everything that is due; return the seconds until the next moment, or the next look-ahead."""
        if self._clock.now() >= self._reload_at:
            await self.load()
        due = self._take_due()
        for start in range(0, len(due), BATCH):
            await self._fire_halving(due[start : start + BATCH])
        if late := self._late.take(LATE_ROWS):
            await self._fire_halving(late)
        if self._late:
            return 0.0
        soonest = self._queue[0][0] if self._queue else float("inf")
        return min(self._clock.seconds_until(min(soonest, self._reload_at)), LONGEST_TIMER_SECONDS)

    def allow_old(self) -> None:
        """From now on a moment older than the grace may fire: the mirror has been compared, or has waited enough."""
        if not self.may_fire_old:
            self.may_fire_old = True
            self._reload_at = 0.0
            self.wake.set()

    def look_again(self) -> None:
        """Look ahead anew: the database's clock was set, and what was far off may be due."""
        self._reload_at = 0.0
        self.wake.set()

    async def load(self) -> None:
        """Look ahead: plan every active job that is due within the horizon."""
        async with self._leader.session() as conn:
            rows = await load_due_jobs(conn, HORIZON, FIRING, MOST_LOADED)
        self.plan(self._read(rows))
        self._reload_at = self._clock.now() + (RELOAD_SECONDS if len(rows) < MOST_LOADED else 0.0)

    def _read(self, rows: Iterable[Row]) -> Iterator[Job]:
        """Yield the jobs of rows; one that cannot be read, by this version of the program, costs the others nothing."""
        for row in rows:
            try:
                yield self._specs.job(row)
            except Exception as error:  # noqa: BLE001 whatever is wrong with it
                self._put_off(JobName(row["id"], row["namespace"], row["name"]), error)

    async def reload(self, ids: Sequence[UUID]) -> None:
        """Plan these jobs as the database has them now: they were mirrored, released or changed under a fire."""
        async with self._leader.session() as conn:
            rows = await load_jobs(conn, ids)
        self.plan(self._read(row for row in rows if row["state"] in FIRING))
        self.wake.set()

    async def sweep(self) -> None:
        """Write the skipped moments of suspended and not runnable jobs into their range rows."""
        async with self._leader.session() as conn:
            rows = await load_due_jobs(conn, timedelta(0), SKIPPING, MOST_LOADED)
        jobs = list(self._read(rows))
        for start in range(0, len(jobs), BATCH):
            await self._fire_halving(jobs[start : start + BATCH])

    def plan(self, jobs: Iterable[Job]) -> None:
        """Take jobs into the look-ahead; one that is there already is replaced."""
        for job in jobs:
            if job.next_due_at is None:
                self._planned.pop(job.id, None)
                continue
            known = self._planned.get(job.id)
            self._planned[job.id] = job
            if known is None or self._due_at(known) != self._due_at(job):
                heapq.heappush(self._queue, (self._due_at(job), job.id))

    def _due_at(self, job: Job) -> float:
        assert job.next_due_at is not None  # noqa: S101 planned jobs have one
        return max(job.next_due_at.timestamp(), self._not_before.get(job.id, 0.0))

    def _take_due(self) -> list[Job]:
        now = self._clock.now()
        due: list[Job] = []
        while self._queue and self._queue[0][0] <= now:
            planned_at, job_id = heapq.heappop(self._queue)
            job = self._planned.get(job_id)
            if job is None or self._due_at(job) != planned_at:
                continue  # planned again since, for another moment: that entry counts
            del self._planned[job_id]
            if self._due_at(job) >= now - job.misfire.grace.total_seconds():
                due.append(job)
            elif self.may_fire_old:
                self._late.put(job)
        return due

    async def _fire_halving(self, jobs: Sequence[Job]) -> None:
        try:
            await self.fire(jobs)
        except (TermLost, StoreUnavailable):
            self._days.forget()
            self._reload_at = 0.0
            raise
        except Exception as error:  # noqa: BLE001 one job's defect must not end the look-ahead
            self._days.forget()
            if len(jobs) > 1:
                half = len(jobs) // 2
                await self._fire_halving(jobs[:half])
                await self._fire_halving(jobs[half:])
            else:
                self._put_off(JobName(jobs[0].id, jobs[0].namespace, jobs[0].name), error)

    def _put_off(self, job: JobName, error: Exception) -> None:
        self._planned.pop(job.id, None)
        self._not_before[job.id] = self._clock.now() + RETRY_SECONDS
        log.error(
            "job cannot be fired", namespace=job.namespace, job=job.name, error=str(error) or type(error).__name__
        )
        self._on_failed(job, error)

    async def fire(self, jobs: Sequence[Job]) -> None:
        """Decide the due moments of `jobs` in one transaction and tell `on_fired`; plan what comes next."""
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        keep_from = now - self._retention
        decided = {job.id: (job, decide(job, keep_from, now)) for job in jobs if newest_due(job, now)}
        async with self._leader.write() as conn:
            moved = await advance_jobs(conn, [_advance_row(job, decision) for job, decision in decided.values()])
            fired = [decided[job_id] for job_id in decided if job_id in moved]
            inserted = await record(conn, fired, self._days)
        for job_id in moved & self._not_before.keys():
            del self._not_before[job_id]
        self._replan(fired)
        self._on_fired([job for job, _ in fired], inserted)
        if stale := [job.id for job in jobs if job.id not in moved]:
            await self.reload(stale)

    def _replan(self, fired: Sequence[tuple[Job, Decision]]) -> None:
        horizon = self._clock.now() + HORIZON.total_seconds()
        following = [
            replan(job, decision)
            for job, decision in fired
            if decision.next_due_at is not None and decision.next_due_at.timestamp() <= horizon
        ]
        self.plan(job for job in following if job.state in FIRING)


def replan(job: Job, decision: Decision) -> Job:
    """Return `job` as the fire left it."""
    return replace(
        job,
        next_fire_at=decision.next_fire_at,
        next_due_at=decision.next_due_at,
        last_fire_time=decision.last_fire_time,
    )


def _advance_row(job: Job, decision: Decision) -> dict[str, object]:
    return {
        "id": job.id,
        "expected": job.next_fire_at,
        "version": job.version,
        "state": job.state,
        "next_fire_at": decision.next_fire_at,
        "next_due_at": decision.next_due_at,
        "last_fire_time": decision.last_fire_time,
        "is_completed": decision.is_completed,
    }


def runs(executions: Sequence[tuple[Job, NewExecution]]) -> int:
    """Return how many of these rows wait to be claimed."""
    return sum(row.is_claimable for _, row in executions)
