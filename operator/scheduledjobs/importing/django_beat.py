"""Rows of django-celery-beat's tables as entries of a beat_schedule."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from scheduledjobs.importing.imported import CannotImport

CRON = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
UNITS = ("days", "hours", "minutes", "seconds", "microseconds")


def read_row(row: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return a row {task, crontab, interval, clocked, solar} as an entry, with start_time, and its own time zone.

    Each of the five is a JSON object of its table's columns, or None. `CannotImport` for what no entry can say.
    """
    task = row["task"]
    entry: dict[str, Any] = {
        "task": task["task"],
        "args": _json(task.get("args"), "args"),
        "kwargs": _json(task.get("kwargs"), "kwargs"),
        "enabled": task.get("enabled"),
        "options": _options(task),
    }
    if task.get("start_time") and not row["clocked"]:
        entry["start_time"] = _instant(task["start_time"])
    if task.get("one_off") and (row["crontab"] or row["interval"]):
        raise CannotImport("it is a one-off of the next moment of its schedule: give that moment as runAt")
    if crontab := row["crontab"]:
        # The letters and lists of each field are those of cron, which its five columns make.
        return {**entry, "schedule": " ".join("".join(str(crontab[name]).split()) for name in CRON)}, crontab[
            "timezone"
        ]
    if interval := row["interval"]:
        return {**entry, "schedule": _interval(interval["every"], interval["period"])}, None
    if clocked := row["clocked"]:
        return {**entry, "schedule": _instant(clocked["clocked_time"])}, None
    if solar := row["solar"]:
        place = f"{solar['event']} at {solar['latitude']}, {solar['longitude']}"
        raise CannotImport(f"sunrise and sunset ({place}) have no equivalent")
    raise CannotImport("it has no schedule")


def _interval(every: Any, period: str) -> timedelta:
    if period not in UNITS:
        raise CannotImport(f"the period {period!r} of its interval is none of {', '.join(UNITS)}")
    try:
        return timedelta(**{period: every})
    except (TypeError, OverflowError):
        raise CannotImport(f"an interval of {every} {period} has no equivalent") from None


def _options(task: Mapping[str, Any]) -> dict[str, Any]:
    expires = _instant(task["expires"]) if task.get("expires") else task.get("expire_seconds")
    kept = {key: task.get(key) or None for key in ("queue", "exchange", "routing_key", "priority")}
    return {**kept, "headers": _json(task.get("headers"), "headers") or None, "expires": expires}


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise CannotImport(f"{text!r} is no time that can be read") from None


def _json(text: str | None, what: str) -> Any:
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        raise CannotImport(f"its {what} are no JSON") from None
