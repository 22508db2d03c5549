"""Late: jobs whose moments are to be made up, a few rows at a time, so that a herd never delays what is on time."""

from __future__ import annotations

import heapq
from datetime import datetime, timedelta
from uuid import UUID

from scheduledjobs.core.decide import AT_ONCE, NEVER_FIRING, SINGLE_MOMENT, TICK
from scheduledjobs.core.job import Job
from scheduledjobs.core.schedule import moments
from scheduledjobs.core.spec import MisfirePolicy


class Late:
    """A queue: those within their grace go first, then those that write few rows.

    A job that waits is known by its newest plan.
    """

    def __init__(self) -> None:
        self._jobs: dict[UUID, Job] = {}
        self._queue: list[tuple[bool, int, float, UUID]] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job, now: datetime) -> None:
        """Take a job in, or its newer plan."""
        if job.id not in self._jobs:
            key = is_old(job, now), most_rows(job, now), _due_at(job).timestamp(), job.id
            heapq.heappush(self._queue, key)
        self._jobs[job.id] = job

    def take(self, rows: int) -> list[Job]:
        """Return and remove the next jobs, together not over so many rows, but one at least."""
        taken: list[Job] = []
        while self._queue and (not taken or rows >= self._queue[0][1]):
            _, cost, _, job_id = heapq.heappop(self._queue)
            taken.append(self._jobs.pop(job_id))
            rows -= cost
        return taken


def lateness(job: Job, now: datetime) -> timedelta:
    """Return how late the oldest undecided moment of a job is; negative before it is due."""
    return now - _due_at(job)


def is_old(job: Job, now: datetime) -> bool:
    """Return whether the misfire policy decides: the oldest undecided moment is later than the grace."""
    return lateness(job, now) > job.misfire.grace


def most_rows(job: Job, now: datetime) -> int:
    """Return about how many rows the next decision of a job writes."""
    if job.state in NEVER_FIRING:
        return 1 + lateness(job, now).days
    if is_old(job, now) and job.misfire.policy is not MisfirePolicy.SKIP:
        runs = job.misfire.limit if job.misfire.policy is MisfirePolicy.FIRE_ALL else 1
        return runs + 1 + lateness(job, now).days
    if job.schedule.kind in SINGLE_MOMENT or job.next_fire_at is None:
        return 1
    since = max(job.next_fire_at, now - job.misfire.grace)
    return max(1, min(AT_ONCE, moments(job.schedule, since - TICK, now, job.anchor_at).count))


def _due_at(job: Job) -> datetime:
    assert job.next_due_at is not None  # noqa: S101 only jobs that have one are planned
    return job.next_due_at
