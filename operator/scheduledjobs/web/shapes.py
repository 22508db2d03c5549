"""Shapes: rows of the database as the models that REST and the pages show. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any

from scheduledjobs.core.agenda import buckets, fires
from scheduledjobs.core.job import read_schedule
from scheduledjobs.core.masking import masked
from scheduledjobs.core.reasons import FAILURE_STATES, LIVE_STATES, JobState, State
from scheduledjobs.core.schedule import YEARS, FixedDelay, Schedule, is_askable, moments
from scheduledjobs.core.spec import parse_spec
from scheduledjobs.core.words import words
from scheduledjobs.errors import SpecError
from scheduledjobs.ledger.versions import author, changes
from scheduledjobs.store.queries import Row
from scheduledjobs.web.models import (
    Attempt,
    Change,
    Execution,
    ExecutionDetail,
    Fire,
    Job,
    JobDetail,
    Outcome,
    Output,
    Replica,
    Sight,
    Version,
)
from scheduledjobs.web.problems import ProblemError

MANAGERS = {
    "helm": "Helm",
    "argocd-controller": "Argo CD",
    "argocd-application-controller": "Argo CD",
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
}
"""Field managers of the tools that write a resource again after a person has."""

RAN = frozenset({State.SUCCEEDED, State.FAILED, State.TIMED_OUT, State.LOST})
ALIVE = timedelta(seconds=3)
TICK = timedelta(microseconds=1)


def askable(at: datetime) -> datetime:
    """Return a moment that may be asked for; ProblemError 422 where its year is out of range."""
    if not is_askable(at):
        raise ProblemError(422, "Bad moment", f"must lie in the years {YEARS[0]} to {YEARS[-1]}", "InvalidMoment")
    return at


def managers_of(shown: str) -> list[str]:
    """Return the field managers that are shown under a name."""
    return [manager for manager, name in MANAGERS.items() if name == shown] or [shown]


def schedule_of(spec: Mapping[str, Any]) -> Schedule | None:
    """Return the schedule of a stored spec, or None where it cannot be read."""
    try:
        return read_schedule(parse_spec(spec))
    except SpecError:
        return None


def job(row: Row, recent: int) -> Job:
    """Return a job from a row of store.reading.read_jobs, with at most `recent` outcomes."""
    return Job(**_job(row, recent))


def _job(row: Row, recent: int) -> dict[str, Any]:
    schedule = schedule_of(row["spec"])
    outcomes = _outcomes(row, max(recent, 1))
    manager = row["field_manager"]
    return {
        "id": row["id"],
        "namespace": row["namespace"],
        "name": row["name"],
        "version": row["version"],
        "state": row["state"],
        "reason": row["reason"],
        "message": row["message"],
        "schedule": schedule.text if schedule else str(row["spec"].get("schedule") or "?"),
        "words": words(schedule) if schedule else "A schedule that cannot be read",
        "time_zone": str(row["spec"].get("timeZone") or "Etc/UTC"),
        "handler": row["handler"],
        "next_fire_time": row["next_fire_at"] if row["state"] == JobState.ACTIVE else None,
        "last_fire_time": row["last_fire_time"],
        "paused_until": row["paused_until"],
        "paused_by": row["paused_by"],
        "pause_reason": row["pause_reason"],
        "active": row["active"],
        "failures": streak(map(State, row["states"] or ())),
        "last_execution": outcomes[0] if outcomes else None,
        "recent": outcomes[:recent],
        "managed_by": MANAGERS.get(manager, manager),
        "deleted_at": row["deleted_at"],
    }


def _outcomes(row: Row, most: int) -> list[Outcome]:
    """Return the newest outcomes; no more are made than are shown, since a page has thousands of them.

    The row of one that has not ended may have what an attempt before took.
    """
    columns = ((row[name] or ())[:most] for name in ("ids", "fire_times", "states", "durations"))
    return [
        Outcome(id=a, fire_time=b, state=c, duration_ms=None if c in LIVE_STATES else d)
        for a, b, c, d in zip(*columns, strict=True)
    ]


def outcome(row: Row) -> Outcome:
    """Return an outcome from a row of store.reading.read_lanes."""
    took = None if row["state"] in LIVE_STATES else row["duration_ms"]
    return Outcome(id=row["id"], fire_time=row["fire_time"], state=row["state"], duration_ms=took)


def streak(states: Iterable[State]) -> int:
    """Return how many failures lie between now and the last success, of states from the newest on."""
    count = 0
    for state in states:
        if state is State.SUCCEEDED:
            break
        count += state in FAILURE_STATES
    return count


def detail(row: Row, executions: Sequence[Execution], now: datetime, count: int = 10) -> JobDetail:
    """Return a job with its spec, coming moments and newest executions."""
    return JobDetail(
        **_job(row, 60),
        spec=row["spec"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        next_fire_times=coming(row, now, count),
        executions=list(executions),
    )


def coming(row: Row, now: datetime, count: int) -> list[Fire]:
    """Return the next moments of a job: the stored one first; of a paused job those after its pause."""
    schedule, after = schedule_of(row["spec"]), _before_next(row, now)
    if schedule is None or after is None:
        return []
    known, zone = row["next_fire_at"], str(row["spec"].get("timeZone") or "Etc/UTC")
    return [fire(*found) for found in fires(schedule, after, count, row["anchor_at"], known=known, zone=zone)]


def _before_next(row: Row, now: datetime) -> datetime | None:
    """Return the last instant before the moments that come; None where none is known to come."""
    if row["state"] == JobState.ACTIVE and row["next_fire_at"] is not None:
        before: datetime = row["next_fire_at"] - TICK
        return before
    if row["state"] == JobState.SUSPENDED and row["paused_until"] is not None and row["paused_until"].year < 9999:
        paused_until: datetime = row["paused_until"]
        return max(now, paused_until - TICK)
    return None


def coming_until(row: Row, now: datetime, until: datetime, stretches: int) -> list[datetime]:
    """Return the moments of a job in (now, until]; where there are more than `stretches`, the beginnings of those
    stretches of that time that have one."""
    schedule, after = schedule_of(row["spec"]), _before_next(row, now)
    if schedule is None or after is None:
        return []
    if isinstance(schedule, FixedDelay):
        return [at for at in [row["next_fire_at"]] if at is not None and at <= until]
    found = moments(schedule, after, until, row["anchor_at"])
    if found.count <= stretches:
        return list(found)
    step = (until - now) / stretches
    counted = buckets([(schedule, row["anchor_at"], found.first)], now, step, stretches)
    return [now + number * step for number, bucket in enumerate(counted) if bucket.moments]


def fire(at: datetime, local: datetime, note: str | None) -> Fire:
    """Return a moment as it is shown."""
    return Fire(fire_time=at, local=local.isoformat(timespec="seconds"), note=note)


def execution(row: Row) -> Execution:
    """Return an execution from a row of store.reading.read_executions."""
    return Execution(**_execution(row))


def _execution(row: Row) -> dict[str, Any]:
    took = row["duration_ms"]
    if row["state"] == State.RUNNING and row["started_at"] is not None:  # not what an attempt before it took
        took = max(0, round((row["now"] - row["started_at"]) / timedelta(milliseconds=1)))
    same = (
        "id", "job_id", "namespace", "version", "fire_time", "last_fire_time", "moment_count", "state", "reason",
        "message", "trigger", "handler", "attempt", "started_at", "finished_at", "lateness_ms", "run_key", "blocked_by",
        "missed_count", "cancel_requested_by", "is_held", "visible_at", "replica",
    )  # fmt: skip
    return {**{name: row[name] for name in same}, "job": row["job_name"], "duration_ms": took}


def execution_detail(row: Row, attempts: Sequence[Row], outputs: Sequence[Row]) -> ExecutionDetail:
    """Return an execution with everything; what looks like a secret in its payload is masked."""
    own = row["payload"] is not None
    return ExecutionDetail(
        **_execution(row),
        due_at=row["due_at"],
        payload=masked((row["payload"] if own else row["spec_payload"]) or {}),
        has_own_payload=own,
        result=row["result"],
        attempts=[Attempt(**attempt) for attempt in attempts],
        outputs=[Output(**output) for output in outputs],
    )


def versions(rows: Sequence[Row]) -> list[Version]:
    """Return versions from rows of store.reading.read_versions, each with what it changed of the one after it there."""
    found = []
    for row, before in zip_longest(rows, rows[1:]):
        changed = changes(before["spec"], row["spec"]) if before is not None else []
        found.append(
            Version(
                version=row["version"],
                recorded_at=row["recorded_at"],
                effective_from=row["effective_from"],
                by=author(before, row),
                state=row["state"],
                message=row["message"],
                spec=row["spec"],
                changes=[Change(field=name, before=old, after=new) for name, old, new in changed],
            )
        )
    return found


def replica(row: Row) -> Replica:
    """Return a replica, and how it looks: late once three heartbeats are missing, dead when it was declared so."""
    age = row["now"] - row["heartbeat_at"]
    sight = Sight.DEAD if row["dead_at"] else Sight.ALIVE if age < ALIVE else Sight.LATE
    same = (
        "id", "hostname", "version", "started_at", "heartbeat_at", "term", "running", "slots", "handlers",
        "database_ms", "loop_lag_ms", "dead_at",
    )  # fmt: skip
    return Replica(
        **{name: row[name] for name in same},
        sight=sight,
        is_leader=row["is_leader"] and not row["dead_at"],
        heartbeat_age_ms=max(0, round(age / timedelta(milliseconds=1))),
    )
