"""What REST says and the pages show: one set of models, from which the OpenAPI document is generated.

Names are the resource's, in camelCase; instants are RFC 3339 in UTC; durations carry their unit in the name.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from scheduledjobs.core.reasons import JobState, State, Trigger
from scheduledjobs.core.status_of import instant

Instant = Annotated[datetime, PlainSerializer(instant, return_type=str, when_used="json")]


class Model(BaseModel):
    """A value in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")


class Fire(Model):
    """A moment that a schedule names."""

    fire_time: Instant
    local: str = Field(description="The same moment in the job's zone, RFC 3339 with its offset")
    note: str | None = Field(default=None, description="What the clocks of the zone do at this moment, if they change")


class Preview(Model):
    """What a schedule means, and when it fires next."""

    schedule: str
    time_zone: str
    words: str
    fires: list[Fire]


class Execution(Model):
    """One row of job_execution_log: a moment, or a stretch of moments that did not run, or a requested run."""

    id: int
    job_id: UUID
    namespace: str
    job: str
    version: int
    fire_time: Instant
    last_fire_time: Instant | None = Field(default=None, description="Of a row that stands for several moments")
    moment_count: int | None = Field(default=None, description="How many moments the row stands for, if several")
    state: State
    reason: str | None = None
    message: str | None = None
    trigger: Trigger
    handler: str
    attempt: int
    started_at: Instant | None = None
    finished_at: Instant | None = None
    duration_ms: int | None = Field(
        default=None,
        description="Of one that runs: until now; that waits to be retried: of its last attempt; that never ran: null",
    )
    lateness_ms: int | None = None
    visible_at: Instant | None = Field(default=None, description="Not claimed before; null also while held")
    is_held: bool = False
    replica: str | None = None
    run_key: str = Field(default="", description="The token of run-now; empty for a scheduled moment")
    blocked_by: int | None = Field(default=None, description="The execution that was in its way")
    missed_count: int | None = Field(default=None, description="Moments that this run stands in for")
    cancel_requested_by: str | None = None


class Attempt(Model):
    """An attempt that another one followed."""

    attempt: int
    state: State
    error: str | None = None
    traceback: str | None = None
    started_at: Instant | None = None
    finished_at: Instant | None = None
    replica: str | None = None


class Output(Model):
    """What an attempt wrote to its log: the last 64 KiB."""

    attempt: int
    output: str
    truncated: bool


class ExecutionDetail(Execution):
    """An execution with all that is known of it. Values of the payload that look like secrets are masked here."""

    due_at: Instant | None = Field(default=None, description="Fire time and jitter; null where there is no jitter")
    payload: dict[str, Any]
    has_own_payload: bool = Field(description="The payload was given with run-now, instead of the spec's")
    result: Any = None
    attempts: list[Attempt]
    outputs: list[Output]


class ExecutionPage(Model):
    """Executions, newest fire time first."""

    items: list[Execution]
    next_cursor: str | None = None


class Outcome(Model):
    """How one execution ended, in short."""

    id: int
    fire_time: Instant
    state: State
    duration_ms: int | None = Field(default=None, description="Of one that has not ended, or never ran: null")


class Job(Model):
    """A ScheduledJob: what it is, when it fires next, and how it went."""

    id: UUID = Field(description="metadata.uid of the resource")
    namespace: str
    name: str
    version: int = Field(description="metadata.generation: counts the changes of the spec")
    state: JobState
    reason: str
    message: str
    schedule: str = Field(description="The schedule as kubectl prints it")
    words: str = Field(description="What the schedule means")
    time_zone: str
    handler: str
    next_fire_time: Instant | None = Field(default=None, description="Null: suspended, invalid, over, or after the run")
    last_fire_time: Instant | None = None
    paused_until: Instant | None = Field(default=None, description="The year 9999: forever")
    paused_by: str | None = None
    pause_reason: str | None = None
    active: int = Field(description="Executions that wait or run")
    failures: int = Field(description="Failed executions since the last success, of the newest 60")
    last_execution: Outcome | None = None
    recent: list[Outcome] = Field(description="Newest first, as many as were asked for")
    managed_by: str | None = Field(default=None, description="Helm, Argo CD, Flux, or who wrote the spec last")
    is_mirrored: bool = Field(default=True, description="False: accepted just now, and not yet read by the leader")
    deleted_at: Instant | None = None


class JobDetail(Job):
    """A job with its spec, the moments that come and the newest executions."""

    spec: dict[str, Any] = Field(description="As in the manifest: nothing in it is masked")
    created_at: Instant
    updated_at: Instant
    next_fire_times: list[Fire]
    executions: list[Execution]


class JobPage(Model):
    """Jobs, by namespace and name."""

    items: list[Job]
    next_cursor: str | None = None


class Change(Model):
    """A field of the spec that one version changed."""

    field: str
    before: Any = None
    after: Any = None


class Version(Model):
    """What was in force from a moment on: a spec, or a change of a pause."""

    version: int
    recorded_at: Instant
    effective_from: Instant
    by: str = Field(description="The field manager, or what happened where nobody wrote: pause ended, deleted")
    state: JobState
    message: str | None = None
    spec: dict[str, Any] = Field(description="As in the manifest: nothing in it is masked")
    changes: list[Change]


class Versions(Model):
    """A page of the versions of a job, newest first."""

    items: list[Version]
    next_cursor: str | None = None


class Why(Model):
    """What became of one moment, told in the order in which it was decided."""

    lines: list[str]


class Handler(Model):
    """A handler and what its payload must look like."""

    name: str
    description: str
    is_async: bool
    payload_schema: dict[str, Any]
    replicas: int = Field(description="How many live replicas have it")


class Handlers(Model):
    """The handlers of the replica that answers."""

    items: list[Handler]


class Sight(StrEnum):
    """How a replica looks from here."""

    ALIVE = "Alive"
    LATE = "Late"
    DEAD = "Dead"


class Replica(Model):
    """One process of the operator."""

    id: UUID
    hostname: str
    version: str
    sight: Sight
    started_at: Instant
    heartbeat_at: Instant
    heartbeat_age_ms: int
    is_leader: bool
    term: int | None = None
    running: int
    slots: int
    handlers: list[str]
    database_ms: float | None = Field(default=None, description="How long its last heartbeat took")
    loop_lag_ms: float | None = Field(default=None, description="How late its event loop woke, at worst, since then")
    dead_at: Instant | None = None


class Term(Model):
    """One spell of leadership."""

    term: int
    holder: str
    acquired_at: Instant


class Cluster(Model):
    """The replicas and who leads."""

    now: Instant
    leader: str | None = None
    term: int
    replicas: list[Replica]
    terms: list[Term]


class NewJob(Model):
    """A job to create, or the whole of what an existing one should be."""

    namespace: str = Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    name: str = Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    labels: dict[str, str] = Field(default_factory=dict)
    spec: dict[str, Any] = Field(description="The spec of a ScheduledJob, as in its manifest")


class Replacement(Model):
    """What an existing job should be: the whole spec."""

    spec: dict[str, Any] = Field(description="The spec of a ScheduledJob, as in its manifest")


class PauseRequest(Model):
    """Suspend the job until a moment; its moments are recorded as skipped, but a runAt is due when that ends."""

    until: str = Field(default="forever", description="RFC 3339 with an offset, or forever")
    reason: str = Field(default="", max_length=256)


class RunRequest(Model):
    """Run the job once, now."""

    payload: dict[str, Any] | None = Field(default=None, description="Used for this run instead of spec.payload")


class RunAnswer(Model):
    """A requested run. It is recorded by the leader: within a moment, or when it has one again."""

    token: str
    job_id: UUID
    execution: Execution | None = Field(default=None, description="Null: not recorded yet; ask again with the same key")


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a request."""

    field: str
    message: str


class Problem(Model):
    """An error, as RFC 9457 says it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    reason: str | None = Field(default=None, description="One word for programs, such as RunRequestPending")
    errors: list[FieldError] = Field(default_factory=list)


class Bucket(Model):
    """Moments that come within a quarter of an hour."""

    start: Instant
    moments: int
    most_at_once: int = Field(description="Of one and the same instant")


class Overview(Model):
    """Whether all is well, of the jobs that the caller may see."""

    now: Instant
    leader: str | None = None
    versions: list[str] = Field(description="Of the live replicas; more than one: an upgrade goes on or has stuck")
    jobs: dict[str, int] = Field(description="How many jobs are in each state")
    due_next_hour: int
    running: int
    failed: int = Field(description="Executions of the last 24 hours that failed, timed out or were lost")
    missed: int = Field(description="Rows of the last 24 hours of moments that were missed, not coalesced")
    is_day_cut: bool = Field(description="Of these two there may be more: 10,000 rows were counted")
    lateness_p99_ms: float | None = Field(default=None, description="Of the newest scheduled starts, up to 5,000")
    agenda: list[Bucket] = Field(description="The next 24 hours")
    is_agenda_cut: bool = Field(description="More jobs are due in them: the moments of those due first are counted")
    failing: list[Job] = Field(description="Jobs whose newest run failed, the longest streak first, up to 20")
    failing_count: int = Field(description="How many they are in all, by the newest 10,000 failures of a week")
    is_failing_cut: bool = Field(description="That week may have more failures, of other jobs that fail")


class Lane(Model):
    """One job in the timeline."""

    job: Job
    past: list[Outcome]
    coming: list[Instant]
    is_cut: bool = Field(description="There is more than is shown")


class Timeline(Model):
    """What ran and what comes, a lane a job."""

    now: Instant
    since: Instant
    until: Instant
    lanes: list[Lane]
    next_cursor: str | None = None


class HeatCell(Model):
    """The outcomes of one hour of one day."""

    start: Instant
    succeeded: int
    failed: int
    not_run: int


class JobCharts(Model):
    """What the plots of a job are drawn from."""

    runs: list[Execution] = Field(description="The newest runs that have ended, oldest first, up to 200")
    heat: list[HeatCell] = Field(description="Of the last seven days, hours without an outcome left out")
