"""A job as the leader plans it, and the execution rows it plans: plain values between SQL and the rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from scheduledjobs.core.reasons import JobState, Reason, State, Trigger
from scheduledjobs.core.schedule import Schedule, parse_schedule
from scheduledjobs.core.spec import ConcurrencyPolicy, JobSpec, Misfire


@dataclass(frozen=True, slots=True)
class JobName:
    """Which job, where its spec cannot be read or does not matter."""

    id: UUID
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Job:
    """One job whose schedule can be read: what deciding its moments needs.

    `next_fire_at` is the oldest undecided moment, `next_due_at` when it may fire (later by the jitter),
    `last_fire_time` the newest decided one; `created_at` is the resource's creationTimestamp.
    """

    id: UUID
    namespace: str
    name: str
    version: int
    handler: str
    state: JobState
    reason: Reason
    message: str
    schedule: Schedule
    concurrency: ConcurrencyPolicy
    misfire: Misfire
    jitter: timedelta
    starting_deadline: timedelta
    created_at: datetime
    effective_from: datetime
    anchor_at: datetime | None
    next_fire_at: datetime | None
    next_due_at: datetime | None
    last_fire_time: datetime | None

    def moved(self, decision: Decision) -> Job:
        """Return the job as a decision leaves its plan; `dataclasses.replace` takes several times as long."""
        return Job(
            self.id,
            self.namespace,
            self.name,
            self.version,
            self.handler,
            self.state,
            self.reason,
            self.message,
            self.schedule,
            self.concurrency,
            self.misfire,
            self.jitter,
            self.starting_deadline,
            self.created_at,
            self.effective_from,
            self.anchor_at,
            decision.next_fire_at,
            decision.next_due_at,
            decision.last_fire_time,
        )


@dataclass(frozen=True, slots=True)
class NewExecution:
    """A row to insert into job_execution_log; a range row where `moment_count` is set.

    `due_at` is set where jitter makes it another time than `fire_time`. A held row waits to be released. `replaced` are
    the fire times of held rows that were skipped for it.
    """

    fire_time: datetime
    state: State
    reason: Reason | None = None
    trigger: Trigger = Trigger.SCHEDULE
    message: str | None = None
    last_fire_time: datetime | None = None
    moment_count: int | None = None
    missed_count: int | None = None
    first_missed_at: datetime | None = None
    id: int | None = None
    blocked_by: int | None = None
    due_at: datetime | None = None
    is_held: bool = False
    replaced: tuple[datetime, ...] = ()

    @property
    def is_claimable(self) -> bool:
        """True if a replica may take it at once."""
        return self.state is State.PENDING and not self.is_held

    @property
    def newest(self) -> datetime:
        """The last moment this row stands for."""
        return self.last_fire_time or self.fire_time


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a job's undecided moments: the rows, and where its plan moves to."""

    executions: tuple[NewExecution, ...]
    next_fire_at: datetime | None
    next_due_at: datetime | None
    last_fire_time: datetime | None
    is_completed: bool


def read_job(row: Mapping[str, Any], schedule: Schedule, spec: JobSpec) -> Job:
    """Return the job of a job_definition row, given its spec as parsed."""
    return Job(
        id=row["id"],
        namespace=row["namespace"],
        name=row["name"],
        version=row["version"],
        handler=row["handler"],
        state=JobState(row["state"]),
        reason=Reason(row["reason"]),
        message=row["message"],
        schedule=schedule,
        concurrency=spec.concurrency_policy,
        misfire=spec.misfire,
        jitter=spec.jitter,
        starting_deadline=spec.starting_deadline,
        created_at=row["created_at"],
        effective_from=row["effective_from"],
        anchor_at=row["anchor_at"],
        next_fire_at=row["next_fire_at"],
        next_due_at=row["next_due_at"],
        last_fire_time=row["last_fire_time"],
    )


def read_schedule(spec: JobSpec) -> Schedule:
    """Return the schedule of a spec; `SpecError` where it cannot be read."""
    return parse_schedule(
        schedule=spec.schedule,
        fixed_rate=spec.fixed_rate,
        fixed_delay=spec.fixed_delay,
        run_at=spec.run_at,
        time_zone=spec.time_zone,
        start_time=spec.start_time,
        end_time=spec.end_time,
    )
