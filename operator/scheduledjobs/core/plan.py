"""What the mirror makes of one resource: judged, compared with the row there is, turned into the row there will be.

The rules (design: effective_from, change): an edit of the schedule, a resume or a creation counts from the database
time at which it is recorded (a pause that ends by itself: from its end), never earlier, so nothing past is ever fired
by a change. That instant belongs to the new version: what lies before it is settled under the old one. An edit of
handler, payload or policy does not move the next fire, and one of another field leaves a fixedRate its grid. A one-shot
is due whenever it is recorded, unless its status says that it has fired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from scheduledjobs.core.jitter import check_jitter, due_at
from scheduledjobs.core.job import read_schedule
from scheduledjobs.core.pause import Pause
from scheduledjobs.core.reasons import JobState, Reason, ScheduleKind
from scheduledjobs.core.resource import Resource
from scheduledjobs.core.schedule import FixedRate, OneShot, Schedule, first_fire, next_fire
from scheduledjobs.core.spec import JobSpec, check_payload_size, parse_spec
from scheduledjobs.core.status_of import second
from scheduledjobs.errors import SpecError

SCHEDULE_FIELDS = ("schedule", "fixedRate", "fixedDelay", "runAt", "timeZone", "startTime", "endTime")

TICK = timedelta(microseconds=1)
MILLISECOND = timedelta(milliseconds=1)
NO_FIRE_TIME = "no fire time is left"
FIRED_ELSEWHERE = f"{NO_FIRE_TIME}: its status says that it has fired, of which this database has no row"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a spec is worth: its parsed form as far as it can be read, and whether its moments may run."""

    state: JobState
    reason: Reason
    message: str
    spec: JobSpec | None
    schedule: Schedule | None
    pause: Pause | None = None
    """The pause that suspends the job, if one does."""

    fields: tuple[tuple[str, str], ...] = ()
    """Every field that is wrong and what is wrong with it, where the message tells of the first."""

    @property
    def can_run(self) -> bool:
        """True if a handler may be started for this job, by a moment or by run-now."""
        return self.state is not JobState.INVALID


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a job stands from now on: the changing part of its row."""

    verdict: Verdict
    state: JobState
    reason: Reason
    message: str
    effective_from: datetime
    anchor_at: datetime | None
    next_fire_at: datetime | None

    def next_due_at(self, job_id: UUID) -> datetime | None:
        """Return when the next moment may fire, by the jitter of the spec in force."""
        spec, schedule = self.verdict.spec, self.verdict.schedule
        if self.next_fire_at is None or spec is None or schedule is None:
            return self.next_fire_at
        return due_at(job_id, schedule, spec.jitter, self.next_fire_at, self.anchor_at)


@dataclass(frozen=True, slots=True)
class Judge:
    """What specs are held against: `has_handler(name)` says whether a live replica has it; `check(spec, namespace)`
    raises `SpecError` where the handler cannot do what the spec asks for."""

    has_handler: Callable[[str], bool]
    check: Callable[[JobSpec, str], None]
    over_quota: Callable[[UUID], str | None] = lambda _: None
    """Says why a job is over the quota of its namespace, None if it is not."""

    def verdict_of(self, resource: Resource) -> Verdict:
        """Return the verdict on a resource: on its spec, and whether the quota of its namespace has room for it."""
        verdict = self.verdict(resource.spec, resource.meta.namespace)
        message = None if verdict.state is JobState.INVALID else self.over_quota(resource.meta.uid)
        if message is None:
            return verdict
        return replace(verdict, state=JobState.INVALID, reason=Reason.QUOTA_EXCEEDED, message=message)

    def verdict(self, raw: Mapping[str, Any], namespace: str) -> Verdict:
        """Return the verdict on a spec as it came from the API server."""
        spec: JobSpec | None = None
        schedule: Schedule | None = None
        try:
            spec = parse_spec(raw)
            schedule = read_schedule(spec)
            check_jitter(schedule, spec.jitter)
            self.check_runnable(spec, namespace)
        except SpecError as error:
            return Verdict(JobState.INVALID, error.reason, error.message, spec, schedule, fields=error.fields)
        if spec.suspend:
            return Verdict(JobState.SUSPENDED, Reason.SUSPENDED, "spec.suspend is true", spec, schedule)
        return Verdict(JobState.ACTIVE, Reason.SCHEDULED, "", spec, schedule)

    def check_runnable(self, spec: JobSpec, namespace: str) -> None:
        """Raise `SpecError` if no handler can be started for this spec as it is."""
        _check_handler(spec, self.has_handler)
        check_payload_size(spec)
        self.check(spec, namespace)


def with_pause(verdict: Verdict, pause: Pause | None, now: datetime) -> Verdict:
    """Return the verdict under a pause: what would be active is suspended until the pause ends."""
    if verdict.state is not JobState.ACTIVE or pause is None or pause.until <= now:
        return verdict
    return replace(verdict, state=JobState.SUSPENDED, reason=pause.reason, message=pause.message, pause=pause)


HINTS = {"kubernetes-job": ": SCHEDULEDJOBS_KUBERNETES_JOB (kubernetesJob.enabled of the chart) turns it on"}
"""What to do about handlers that are there and off by default."""


def _check_handler(spec: JobSpec, has_handler: Callable[[str], bool]) -> None:
    if not has_handler(spec.handler):
        hint = HINTS.get(spec.handler, "")
        raise SpecError(Reason.HANDLER_NOT_FOUND, f"no live replica has a handler named {spec.handler!r}{hint}")


def schedule_changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return whether two specs differ in a field that says when the job is due."""
    return any(old.get(field) != new.get(field) for field in SCHEDULE_FIELDS)


def change_of(row: Mapping[str, Any], resource: Resource, verdict: Verdict, now: datetime) -> Reason | None:
    """Return why what is due must be settled before `row` becomes `resource` at `now`, or None if it need not."""
    state = JobState(row["state"])
    moved = schedule_changed(row["spec"], resource.spec)
    if verdict.state is JobState.SUSPENDED and state is JobState.ACTIVE:
        return None if _waits_as_once(row, now) and not moved else Reason.SUSPENDED
    if moved:
        return Reason.EDITED
    if row["schedule_kind"] == ScheduleKind.ONE_SHOT and state is JobState.SUSPENDED:
        return None  # it is due whenever the suspension ends
    return Reason.EDITED if state is not JobState.COMPLETED and state is not verdict.state else None


def _waits_as_once(row: Mapping[str, Any], now: datetime) -> bool:
    """True for a one-shot that is not due yet: a suspension leaves it to be due when it ends."""
    is_once = row["schedule_kind"] == ScheduleKind.ONE_SHOT
    return is_once and row["next_due_at"] is not None and bool(row["next_due_at"] >= now)


def has_expired(row: Mapping[str, Any], now: datetime) -> bool:
    """Return whether a job is suspended by a pause that has ended, and by nothing else."""
    return row["state"] == JobState.SUSPENDED and row["paused_until"] is not None and row["paused_until"] <= now


def fired_elsewhere(resource: Resource, verdict: Verdict) -> datetime | None:
    """Return the moment of a one-shot that its status says has fired, else None.

    To be asked of a job that this database has no living row of: the status is then of another database, or of before a
    backup of this one. It has the newest moment of which an execution was made, in whole seconds; any other than the
    runAt is of before an edit.
    """
    schedule = verdict.schedule
    if not isinstance(schedule, OneShot) or resource.status.get("lastScheduleTime") != second(schedule.run_at):
        return None
    return schedule.run_at


def plan_new(verdict: Verdict, now: datetime, fired_at: datetime | None) -> Plan:
    """Return the plan of a job seen for the first time; `fired_at` is what `fired_elsewhere` says of it."""
    since = next_effective_from(now, now, fired_at)
    plan = _plan(verdict, effective_from=since, anchor=_anchor(verdict.schedule, since), last_fire_time=fired_at)
    is_told = fired_at is not None and plan.state is JobState.COMPLETED
    return replace(plan, message=FIRED_ELSEWHERE) if is_told else plan


def next_effective_from(since: datetime, before: datetime, last: datetime | None) -> datetime:
    """Return from when on a change counts: never earlier than the one before it nor than what is decided, whatever
    the clock says, so versions follow each other without a gap or an overlap."""
    return max(since, before, last + MILLISECOND if last is not None else since)


def plan_changed(
    row: Mapping[str, Any],
    resource: Resource,
    verdict: Verdict,
    *,
    is_readable: bool,
    has_live_run: bool,
    now: datetime,
) -> Plan:
    """Return the plan of a known job; `row` is its row, after what was due under it has been settled.

    `is_readable` says that the spec of `row` can be read; `has_live_run` that a scheduled run of it has not ended, so a
    fixedDelay waits for that.
    """
    moved = schedule_changed(row["spec"], resource.spec) or not is_readable or _had_no_schedule(row)
    resumed = row["state"] == JobState.SUSPENDED and verdict.state is not JobState.SUSPENDED
    last: datetime | None = row["last_fire_time"]
    if not moved and not resumed:
        return _keep(row, verdict)
    since = row["paused_until"] if has_expired(row, now) and not moved else now
    effective_from = next_effective_from(since, row["effective_from"], last)
    anchor = kept_anchor(row, resource.spec) or _anchor(verdict.schedule, effective_from)
    plan = _plan(verdict, effective_from=effective_from, anchor=anchor, last_fire_time=last)
    waits = has_live_run and verdict.schedule is not None and verdict.schedule.kind is ScheduleKind.FIXED_DELAY
    return _with_next(plan, None) if waits else plan


def kept_anchor(row: Mapping[str, Any], spec: Mapping[str, Any]) -> datetime | None:
    """Return the anchor of a job that its new spec keeps, or None where its grid, if it has one, begins anew.

    The grid of a fixedRate counts from the version that set it: a job edited more often than its period would never
    fire if each edit of another field moved it. The specs are compared as they are: one of them may not be readable.
    """
    has_same_rate = spec.get("fixedRate") is not None and row["spec"].get("fixedRate") == spec["fixedRate"]
    anchor: datetime | None = row["anchor_at"] if has_same_rate else None
    return anchor


def _had_no_schedule(row: Mapping[str, Any]) -> bool:
    """True for a job that had no moments at all: it was gone, or a newer tz database may know its zone."""
    return row["state"] == JobState.DELETED or row["schedule_kind"] is None


def _keep(row: Mapping[str, Any], verdict: Verdict) -> Plan:
    """The plan goes on as it is; only what the verdict says of it may be new."""
    is_over = row["next_fire_at"] is None and row["schedule_kind"] != ScheduleKind.FIXED_DELAY
    completed = (is_over or row["state"] == JobState.COMPLETED) and verdict.state is not JobState.INVALID
    return Plan(
        verdict=verdict,
        state=JobState.COMPLETED if completed else verdict.state,
        reason=Reason.COMPLETED if completed else verdict.reason,
        message=_over(row) if completed else verdict.message,
        effective_from=row["effective_from"],
        anchor_at=row["anchor_at"],
        next_fire_at=row["next_fire_at"],
    )


def _over(row: Mapping[str, Any]) -> str:
    return FIRED_ELSEWHERE if row["message"] == FIRED_ELSEWHERE else NO_FIRE_TIME


def _plan(
    verdict: Verdict,
    *,
    effective_from: datetime,
    anchor: datetime | None,
    last_fire_time: datetime | None,
) -> Plan:
    following = _next(verdict.schedule, effective_from, anchor, last_fire_time)
    state, reason, message = verdict.state, verdict.reason, verdict.message
    if following is None and state in (JobState.ACTIVE, JobState.SUSPENDED):
        state, reason, message = JobState.COMPLETED, Reason.COMPLETED, NO_FIRE_TIME
    return Plan(verdict, state, reason, message, effective_from, anchor, following)


def _next(
    schedule: Schedule | None, effective_from: datetime, anchor: datetime | None, last_fire_time: datetime | None
) -> datetime | None:
    if schedule is None:
        return None
    if schedule.kind is ScheduleKind.ONE_SHOT:  # due whenever recorded, once
        run_at = next_fire(schedule, datetime.min.replace(tzinfo=effective_from.tzinfo), anchor)
        return run_at if run_at is not None and (last_fire_time is None or run_at > last_fire_time) else None
    if schedule.kind is ScheduleKind.FIXED_DELAY:
        return first_fire(schedule, effective_from, anchor)
    return first_fire(schedule, effective_from - TICK, anchor)  # a moment at that very instant is due


def _anchor(schedule: Schedule | None, effective_from: datetime) -> datetime | None:
    return effective_from if isinstance(schedule, FixedRate) else None


def _with_next(plan: Plan, next_fire_at: datetime | None) -> Plan:
    state, reason, message = plan.verdict.state, plan.verdict.reason, plan.verdict.message
    return replace(plan, next_fire_at=next_fire_at, state=state, reason=reason, message=message)
