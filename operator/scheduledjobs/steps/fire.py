"""Fire: decide due moments by inserting execution rows, many jobs a transaction, each exactly once.

The leader looks ahead: it loads the jobs due in the next seconds, waits for the soonest on a local timer, and fires
all that are due in one batch. What is late is loaded apart, some jobs a look, and made up a few rows at a time, after
what is on time. A fire is one transaction, in this order:

1. the term is checked (a leader that was replaced writes nothing);
2. the jobs' plans move by compare-and-set, which refuses to be early by the database's own clock, with any moment;
3. in a later statement, what is live is read for the jobs that moved, and their rows are inserted.

A job that did not move was changed by somebody, or it is not due yet: it is loaded again. A batch that fails, for
whatever reason, is halved until the job that cannot be fired stands alone; that job is reported and tried again later,
the others fire. So is one that cannot even be read.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from scheduledjobs.core.decide import decide_if_due, due, oldest_kept
from scheduledjobs.core.job import Decision, Job, JobName, NewExecution
from scheduledjobs.core.reasons import JobState
from scheduledjobs.errors import StoreUnavailable, TermLost
from scheduledjobs.steps.clock import Clock
from scheduledjobs.steps.halve import halving
from scheduledjobs.steps.inserting import Claimant, Inserting
from scheduledjobs.steps.late import Late, is_old, lateness
from scheduledjobs.steps.record import Days, record
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.jobs import advance_jobs, database_now, load_due_jobs, load_jobs, load_late_jobs, look_ahead
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.queries import Row

log = structlog.get_logger(__name__)

HORIZON = timedelta(seconds=10)
RELOAD_SECONDS = 4.0
LONGEST_TIMER_SECONDS = 1.0
MOST_LOADED = 20_000
PROMPT = timedelta(seconds=5)
"""What is late by no more counts as on time: a few rows a job. The rest is the backlog, loaded and made up apart."""

BEHIND_SECONDS = 1.0
"""What is later than so is fired by one pass at a time; and so often at least, what is late beside what is on time."""

MOST_LATE = 1_000
BATCH = 250
"""Jobs a transaction. Of 1,000 due at one moment the first begin sooner than with 500, and the last no later."""
LATE_ROWS = 300
"""About how many rows the late jobs may write between two looks at what is on time."""

RETRY_SECONDS = 30.0
MOST_RETRY_SECONDS = 300.0
"""How long a job that cannot be fired waits for its next try: at first, then twice as long each time, and at most."""

LOCKED_SECONDS = 0.1
"""A job that is due, unchanged, and did not move is locked by somebody: it is looked at again so soon."""

PLANNED = ("version", "next_fire_at", "next_due_at", "last_fire_time")
"""What a known plan is compared by."""

FIRING = frozenset({JobState.ACTIVE})
SKIPPING = frozenset({JobState.SUSPENDED, JobState.INVALID})
"""States whose moments only lengthen a range row: a slow sweep is enough for them."""


OnFired = Callable[[Sequence[Job], Sequence[tuple[Job, NewExecution]], int], None]


class Fire:
    """The look-ahead of one term, and the step that fires what is due of it."""

    def __init__(
        self,
        leader: Leader,
        clock: Clock,
        specs: Specs,
        retention: timedelta,
        on_fired: OnFired,
        on_failed: Callable[[JobName, Exception], None],
        claimant: Claimant | None = None,
        *,
        on_unheard: Callable[[Sequence[UUID]], None],
    ) -> None:
        """`claimant` may claim what is inserted; `on_fired(jobs, rows, to_claim)` is told how many it did not.

        `on_unheard` is told of jobs for which a COMMIT may have landed unheard.
        """
        self._on_unheard = on_unheard
        self._leader = leader
        self._clock = clock
        self._specs = specs
        self._retention = retention
        self._on_fired = on_fired
        self._on_failed = on_failed
        self._claimant = claimant
        self._days = Days()
        self._planned: dict[UUID, Job] = {}
        self._queue: list[tuple[float, UUID]] = []
        self._due: deque[Job] = deque()
        """Taken out of the plan, and in no pass yet."""

        self._passes = 0
        self._passed_at = self._late_at = 0.0
        self._late = Late()
        self._not_before: dict[UUID, float] = {}
        self._waits: dict[UUID, float] = {}
        self._reload_at = 0.0
        self._reload_late_at = 0.0
        self.wake = asyncio.Event()
        self.may_fire_old = False
        """False until the term's first complete compare: an old moment may belong to a job that is gone."""

    async def step(self) -> float:
        """Fire everything that is due; return the seconds until the next moment, or the next look-ahead.

        Several passes may go on at once: each takes what is due out of the plan before it first waits, so a COMMIT that
        takes long does not hold up what is due meanwhile.
        """
        if self._clock.now() >= self._reload_at:
            await self.load()
        self._due.extend(self._take_due())
        while self._due and not self._is_another_enough(self._due[0]):
            # A batch at a time: another pass has the next one meanwhile.
            await self._pass([self._due.popleft() for _ in range(min(BATCH, len(self._due)))])
        now = self._clock.now()
        if self._passes and now - self._late_at < BEHIND_SECONDS:  # the other one goes on with what is left
            return self._seconds_until(self._reload_at)
        self._late_at = now
        if late := self._take_late():
            await self._pass(late)
        elif now >= self._reload_late_at:
            await self.load_late()
        if self._late:
            return 0.0
        return self._seconds_until(self._reload_at, self._reload_late_at)

    def _seconds_until(self, *others: float) -> float:
        soonest = self._queue[0][0] if self._queue else float("inf")
        return min(self._clock.seconds_until(min(soonest, *others)), LONGEST_TIMER_SECONDS)

    def _is_another_enough(self, job: Job) -> bool:
        """Return whether another pass is under way, which moves, and so much is late that a second one would only take
        the time of what runs."""
        now = self._clock.now()
        return (
            bool(self._passes) and now - self._passed_at < BEHIND_SECONDS and now - self._due_at(job) > BEHIND_SECONDS
        )

    async def _pass(self, jobs: Sequence[Job]) -> None:
        self._passes += 1
        self._passed_at = self._clock.now()
        try:
            await self._fire_halving(jobs)
        finally:
            self._passes -= 1

    def allow_old(self) -> None:
        """From now on a moment older than the grace may fire: the mirror has been compared, or has waited enough."""
        if not self.may_fire_old:
            self.may_fire_old = True
            self.look_again()

    def look_again(self) -> None:
        """Look ahead anew: the database's clock was set, and what was far off may be due."""
        self._reload_at = self._reload_late_at = 0.0
        self.wake.set()

    async def load(self) -> None:
        """Look ahead: plan every active job that is due within the horizon, and not in the backlog.

        What is planned as the database has it is not read again: jobs of every second would be, with their specs, at
        each look.
        """
        now = self._clock.now()
        self._reload_at = now + RELOAD_SECONDS
        try:
            async with self._leader.session() as conn:
                excluded = self._excluded(now)
                rows = await look_ahead(conn, HORIZON, MOST_LOADED, late=PROMPT, excluded=excluded)
                unknown = [row["id"] for row in rows if not self._is_planned(row)]
                loaded = await load_jobs(conn, unknown) if unknown else []
        except BaseException:
            self._reload_at = 0.0
            raise
        self.plan(self._read(row for row in loaded if row["state"] in FIRING))
        if len(rows) == MOST_LOADED:  # what follows is due no sooner than the last of these
            self._reload_at = min(self._reload_at, max(now, rows[-1]["next_due_at"].timestamp()))

    def _is_planned(self, row: Row) -> bool:
        known = self._planned.get(row["id"])
        return known is not None and all(getattr(known, name) == row[name] for name in PLANNED)

    async def load_late(self) -> None:
        """Plan some jobs of the backlog; when these are made up, there may be more."""
        now = self._now()
        self._reload_late_at = now.timestamp() + RELOAD_SECONDS  # before it waits: another pass would load them too
        try:
            async with self._leader.session() as conn:
                rows = await load_late_jobs(conn, PROMPT, MOST_LATE, self._excluded(now.timestamp()))
        except BaseException:
            self._reload_late_at = 0.0
            raise
        jobs = list(self._read(rows))
        self.plan(jobs)
        # Old ones that may not fire yet would be loaded again at once, and again.
        has_more = len(rows) == MOST_LATE and (self.may_fire_old or not all(is_old(job, now) for job in jobs))
        if has_more:
            self._reload_late_at = now.timestamp()

    def _excluded(self, now: float) -> list[UUID]:
        """Return the jobs that are put off, or they would be loaded again and again, and nothing behind them."""
        before = now - MOST_RETRY_SECONDS  # a job that nobody has tried since is gone, or was changed
        ended = [job_id for job_id, at in self._not_before.items() if at <= before and job_id not in self._planned]
        for job_id in ended:
            self._forget(job_id)
        return [job_id for job_id, at in self._not_before.items() if at > now]

    def _forget(self, job_id: UUID) -> None:
        del self._not_before[job_id]
        self._waits.pop(job_id, None)

    def _read(self, rows: Iterable[Row]) -> Iterator[Job]:
        """Yield the jobs of rows; one that cannot be read, by this version of the program, costs the others nothing."""
        for row in rows:
            try:
                yield self._specs.job(row)
            except Exception as error:  # noqa: BLE001 whatever is wrong with it
                self._put_off(JobName(row["id"], row["namespace"], row["name"]), error)

    def concerns(self, job_id: UUID, next_due_at: datetime | None) -> bool:
        """Return whether a job that has changed is to be loaded again: it is planned, or due before the look-ahead
        would find it. The others cost no memory, which would be most of a leader's where most jobs are idle."""
        return job_id in self._planned or self._is_near(next_due_at)

    def _is_near(self, due_at: datetime | None) -> bool:
        return due_at is not None and due_at.timestamp() <= self._clock.now() + HORIZON.total_seconds()

    async def reload(self, ids: Sequence[UUID]) -> None:
        """Plan these jobs as the database has them now: they were mirrored, released or changed under a fire."""
        if not ids:
            return
        async with self._leader.session() as conn:
            rows = await load_jobs(conn, ids)
        near = {row["id"]: row for row in rows if row["state"] in FIRING and self._is_near(row["next_due_at"])}
        for job_id in (self._not_before.keys() & ids) - self._planned.keys():  # a change may have mended it
            self._not_before[job_id] = min(self._not_before[job_id], self._clock.now())
        for job_id in ids:
            if job_id not in near:
                self._planned.pop(job_id, None)
        self.plan(self._read(near.values()))
        self.wake.set()

    async def sweep(self) -> None:
        """Write the skipped moments of suspended and not runnable jobs into their range rows."""
        now, waiting = self._now(), Late()
        async with self._leader.session() as conn:
            excluded = self._excluded(now.timestamp())
            rows = await load_due_jobs(conn, SKIPPING, MOST_LOADED, excluded)
        for job in self._read(rows):
            waiting.put(job, now)
        while jobs := waiting.take(BATCH):
            await self._fire_halving(jobs)

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
        now, at = self._clock.now(), self._now()
        due: list[Job] = []
        while self._queue and self._queue[0][0] <= now:
            planned_at, job_id = heapq.heappop(self._queue)
            job = self._planned.get(job_id)
            if job is None or self._due_at(job) != planned_at:
                continue  # planned again since, for another moment: that entry counts
            del self._planned[job_id]
            if lateness(job, at) <= PROMPT:
                due.append(job)
            elif self.may_fire_old or not is_old(job, at):
                self._late.put(job, at)
        return due

    def _take_late(self) -> list[Job]:
        late, now = self._late.take(LATE_ROWS), self._now()
        return [job for job in late if self.may_fire_old or not is_old(job, now)]

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)

    async def _fire_halving(self, jobs: Sequence[Job]) -> None:
        try:
            await halving(
                jobs,
                self.fire,
                lambda job, error: self._put_off(JobName(job.id, job.namespace, job.name), error),
                lambda part: self._on_unheard([job.id for job in part]),
            )
        except (TermLost, StoreUnavailable):
            self._due.clear()
            self._reload_at = self._reload_late_at = 0.0
            raise

    def _put_off(self, job: JobName, error: Exception) -> None:
        self._planned.pop(job.id, None)
        wait = self._waits.get(job.id, RETRY_SECONDS)
        self._waits[job.id] = min(2 * wait, MOST_RETRY_SECONDS)
        self._not_before[job.id] = self._clock.now() + wait
        log.error(
            "job cannot be fired", namespace=job.namespace, job=job.name, error=str(error) or type(error).__name__
        )
        self._on_failed(job, error)

    async def fire(self, jobs: Sequence[Job]) -> None:
        """Decide the due moments of `jobs` in one transaction and tell `on_fired`; plan what comes next."""
        now = self._now()
        keep_from = oldest_kept(self._retention, now)
        decisions = ((job, decide_if_due(job, keep_from, now)) for job in jobs)
        decided = {job.id: (job, decision) for job, decision in decisions if decision is not None}
        rows = [advance_row(job, decision) for job, decision in decided.values()]
        days = self._days.begin()
        async with (
            Inserting(self._claimant) as inserting,
            self._leader.write_after(lambda conn: advance_jobs(conn, rows)) as (conn, moved),
        ):
            fired = [decided[job_id] for job_id in decided if job_id in moved]
            inserted = await record(conn, fired, days, inserting)
        self._days.learn(days)
        for job_id in moved & self._not_before.keys():
            self._forget(job_id)
        self._replan(fired)
        self._on_fired([job for job, _ in fired], inserted, 0 if inserting.has_taken else runs(inserted))
        if stale := [job for job in jobs if job.id not in moved]:
            await self._look_again_at(stale)

    async def _look_again_at(self, jobs: Sequence[Job]) -> None:
        """Load again jobs that did not move: changed, not due yet by the database's clock, or locked by somebody."""
        was_ahead = await self._correct_clock()
        await self.reload([job.id for job in jobs])
        if was_ahead:
            return  # they are decided again at once, by the right time
        now = self._clock.now()
        locked = [job for job in jobs if now - self._due_at(job) >= LOCKED_SECONDS and self._is_as_planned(job)]
        for job in locked:
            self._not_before[job.id] = now + LOCKED_SECONDS
            heapq.heappush(self._queue, (self._due_at(job), job.id))

    async def _correct_clock(self) -> bool:
        """Ask for the database's time; return whether it was believed to be later."""
        asked_at = self._clock.monotonic()
        async with self._leader.session() as conn:
            now = await database_now(conn)
        return self._clock.correct(now.timestamp(), asked_at)

    def _is_as_planned(self, job: Job) -> bool:
        known = self._planned.get(job.id)
        return known is not None and (known.version, known.next_fire_at) == (job.version, job.next_fire_at)

    def _replan(self, fired: Sequence[tuple[Job, Decision]]) -> None:
        following = [job.moved(decision) for job, decision in fired if self._is_near(decision.next_due_at)]
        self.plan(job for job in following if job.state in FIRING)


def advance_row(job: Job, decision: Decision) -> dict[str, object]:
    """Return what advance_jobs takes to move `job` past its decided moments."""
    newest = decision.last_fire_time
    return {
        "id": job.id,
        "expected": job.next_fire_at,
        "version": job.version,
        "state": job.state,
        "next_fire_at": decision.next_fire_at,
        "next_due_at": decision.next_due_at,
        "last_fire_time": decision.last_fire_time,
        "newest_due_at": None if newest is None or newest == job.next_fire_at else due(job, newest),
        "is_completed": decision.is_completed,
    }


def runs(executions: Sequence[tuple[Job, NewExecution]]) -> int:
    """Return how many of these rows wait to be claimed."""
    return sum(row.is_claimable for _, row in executions)
