"""The status of a resource, built whole from what SQL says, with nothing remembered but when a condition changed.

Ready says that the spec is accepted and being scheduled, never how the last run went; Healthy says that. Stalled is
True only while the spec cannot work, so that generic tools (kstatus) tell a broken job from a failing one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from scheduledjobs.core.duration import format_duration
from scheduledjobs.core.reasons import JobState, Reason, State, camel
from scheduledjobs.core.requests import is_taken
from scheduledjobs.core.resource import RUN_NOW

MOST_BYTES = 4096
"""A status is smaller, as JSON."""

LONGEST_MESSAGE = 512
"""Bytes of JSON, of each of four messages; so at most as many characters, which the CRD allows."""

SHORTER_MESSAGE = 384
"""And where a token of odd characters leaves no room for four of these."""

LONGEST_SCHEDULE = 256
LONGEST_NAME = 253
Row = Mapping[str, Any]


def status_of(row: Row, schedule_text: str, before: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return the status of a job, ready for the API server; `row` is one of store.status.load_status.

    `before` is the status that the resource has: conditions that did not change keep their lastTransitionTime, and what
    lies too far back to be looked for, or was dropped with its day, stays as it was.
    """
    scheduled, success = row["last_schedule_time"], row["last_successful_time"]
    kept = before.get("lastScheduleTime") if row["has_fired"] else None
    failures = row["consecutive_failures"]
    fields = {
        "observedGeneration": row["version"],
        "conditions": conditions(row, before, now),
        "schedule": cut(schedule_text, LONGEST_SCHEDULE),
        "suspended": row["state"] == JobState.SUSPENDED,
        "active": row["active"],
        "lastScheduleTime": second(scheduled) if scheduled else kept,
        "lastSuccessfulTime": second(success) if success else before.get("lastSuccessfulTime"),
        "nextScheduleTime": None if row["state"] == JobState.SUSPENDED else second(row["next_fire_at"]),
        "lastExecution": last_execution(row),
        "consecutiveFailures": max(failures, before.get("consecutiveFailures", 0)) if row["is_cut"] else failures,
        "lastHandledRunNow": handled(row),
    }
    return _small({name: value for name, value in fields.items() if value is not None})


def handled(row: Row) -> str | None:
    """Return the token of the run-now that was recorded with the annotation; None where it was not taken."""
    token: str | None = row["annotations"].get(RUN_NOW)
    return token if token and is_taken(token) else None


def _small(status: dict[str, Any]) -> dict[str, Any]:
    """Return a status that is small enough: its messages are cut again if it is not."""
    if len(orjson.dumps(status)) >= MOST_BYTES:
        for part in (*status["conditions"], status.get("lastExecution", {})):
            if "message" in part:
                part["message"] = cut(part["message"], SHORTER_MESSAGE)
    return status


def last_execution(row: Row) -> dict[str, Any] | None:
    """Return the newest closed row of the log, run or not; None where there is none."""
    if row["last_id"] is None:
        return None
    took = row["last_duration_ms"]
    fields = {
        "id": str(row["last_id"]),
        "fireTime": instant(row["last_fire_time"]),
        "startTime": instant(row["last_started_at"]),
        "completionTime": instant(row["last_finished_at"]),
        "duration": None if took is None else format_duration(rounded(timedelta(milliseconds=took))),
        "outcome": camel(row["last_state"]),
        "reason": row["last_reason"],
        "message": cut(row["last_message"]),
        "attempts": row["last_attempts"],
        "replica": cut(row["last_replica"], LONGEST_NAME),
        "trigger": camel(row["last_trigger"]),
    }
    return {name: value for name, value in fields.items() if value is not None}


def conditions(row: Row, before: Mapping[str, Any], now: datetime) -> list[dict[str, Any]]:
    """Return Ready, Healthy and Stalled, in the form of metav1.Condition."""
    old = {condition.get("type"): condition for condition in before.get("conditions", [])}
    ready = row["state"] != JobState.INVALID and row["reason"] != Reason.FIRE_FAILED
    broken = row["state"] == JobState.INVALID
    message = row["message"] or "moments are fired as they come"
    found = [
        ("Ready", str(ready), row["reason"], message),
        ("Healthy", *healthy(row, old.get("Healthy", {}))),
        ("Stalled", str(broken), row["reason"] if broken else "NotStalled", message if broken else "the spec can work"),
    ]
    return [condition(row["version"], old.get(entry[0], {}), entry, now) for entry in found]


def healthy(row: Row, old: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return status, reason and message of Healthy: how the last execution that ran has ended."""
    if row["last_run_state"] is None and row["is_cut"] and {"status", "reason", "message"} <= old.keys():
        return old["status"], old["reason"], old["message"]
    if row["last_run_state"] is None:
        return "Unknown", "NotRunYet", "no execution has ended yet"
    good = row["last_run_state"] == State.SUCCEEDED
    message = "the last execution succeeded" if good else row["last_run_message"] or "the last execution failed"
    return str(good), camel(row["last_run_state"]), message


def condition(version: int, old: Mapping[str, Any], entry: tuple[str, str, str, str], now: datetime) -> dict[str, Any]:
    """Return one condition; its transition time moves only when its status does."""
    kind, status, reason, message = entry
    changed_at = old.get("lastTransitionTime") if old.get("status") == status else None
    return {
        "type": kind,
        "status": status,
        "observedGeneration": version,
        "lastTransitionTime": changed_at or second(now),
        "reason": reason,
        "message": cut(message),
    }


def instant(moment: datetime | None) -> str | None:
    """Return an instant as RFC 3339 in UTC, without the fraction where there is none."""
    if moment is None:
        return None
    spec = "milliseconds" if moment.microsecond >= 1000 else "seconds"
    return moment.astimezone(UTC).isoformat(timespec=spec).replace("+00:00", "Z")


def second(moment: datetime | None) -> str | None:
    """Return an instant to the second, as metav1.Time does: what kubectl prints in a column."""
    return None if moment is None else instant(moment.replace(microsecond=0))


def rounded(duration: timedelta) -> timedelta:
    """Return a duration as precise as people read it: to the second from ten seconds on."""
    return timedelta(seconds=round(duration.total_seconds())) if duration >= timedelta(seconds=10) else duration


def cut(message: str | None, longest: int = LONGEST_MESSAGE) -> str | None:
    """Return a message within so many bytes of JSON: quotes and controls are longer there, and most of the world's
    letters are more than one byte."""
    if message is None or _size(message) <= longest:
        return message
    beginning = message[:longest]
    kept = bisect_right(range(len(beginning)), longest - _size("…"), key=lambda count: _size(beginning[:count])) - 1
    return beginning[:kept] + "…"


def _size(text: str) -> int:
    return len(orjson.dumps(text)) - 2
