"""An entry of Celery beat's schedule as a ScheduledJob: a beat_schedule, or rows of django-celery-beat.

Schedules are read by what they have, so Celery need not be installed: a crontab has sets named minute, hour,
day_of_month, month_of_year and day_of_week, an interval has run_every, sun rises and sets have event and lat.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta
from typing import Any

from scheduledjobs.core.duration import format_duration
from scheduledjobs.core.schedule import Cron
from scheduledjobs.core.spec import DAY, LEAP_YEAR
from scheduledjobs.core.zone import zone_names
from scheduledjobs.errors import SpecError
from scheduledjobs.importing.clock import Clocks, clock_notes
from scheduledjobs.importing.crontab import both_days
from scheduledjobs.importing.imported import CannotImport, Difference, Imported, Note, imported, refusal, refused
from scheduledjobs.importing.values import json_value

FIELDS = (
    ("minute", range(60)),
    ("hour", range(24)),
    ("day_of_month", range(1, 32)),
    ("month_of_year", range(1, 13)),
    ("day_of_week", range(7)),
)
OPTIONS = frozenset({"queue", "expires"})
SECOND = timedelta(seconds=1)
LONGEST_HANDLER = 63
NO_ZONE = (
    "nothing here names Celery's timezone: UTC is supposed, which it is unless the app sets timezone, or enable_utc to "
    "False; --time-zone names another"
)


def read_beat(
    name: str,
    entry: Mapping[str, Any],
    zone: str | None,
    handlers: Sequence[tuple[str, str]],
    namespace: str | None,
    now: datetime,
) -> Imported:
    """Return what becomes of an entry {task, schedule, args, kwargs, options, enabled, start_time}.

    `zone` is Celery's timezone, None where nothing names it; `handlers` are pairs of a task's name, a shell pattern,
    and the handler for it.
    """
    origin, task, notes = f"Celery beat entry {name}", str(entry.get("task") or ""), list[Note]()
    payload: dict[str, Any] = {"task": task}
    try:
        timing = _timing(entry.get("schedule"), zone, now, notes)
        timing |= _start(entry.get("start_time"), timing, now, notes)
        handler = _handler(task, handlers, notes)
        payload |= {key: json_value(entry[key], key) for key in ("args", "kwargs") if entry.get(key)}
        options = _options(entry.get("options") or {}, payload, now, notes)
    except CannotImport as error:
        return refused(origin, name, namespace, str(error))
    except SpecError as error:
        return refused(origin, name, namespace, refusal(error))
    spec: dict[str, Any] = {**timing, "handler": handler, "payload": payload}
    spec["concurrencyPolicy"] = "Allow"  # beat sends without looking at what still runs
    spec |= options
    if entry.get("enabled") is False:
        spec["suspend"] = True
    return imported(origin, name, namespace, spec, notes)


def _timing(schedule: Any, zone: str | None, now: datetime, notes: list[Note]) -> dict[str, Any]:
    if isinstance(schedule, str):
        return _cron(schedule.split(), zone, now, notes)
    if isinstance(schedule, int | float) and not isinstance(schedule, bool):
        return _interval(_seconds(schedule, "interval"))
    if isinstance(schedule, timedelta):
        return _interval(schedule)
    if isinstance(schedule, datetime):
        return {"runAt": _text(schedule)}
    if hasattr(schedule, "event") and hasattr(schedule, "lat"):
        raise CannotImport(
            f"sunrise and sunset ({schedule.event} at {schedule.lat}, {schedule.lon}) have no equivalent"
        )
    if all(isinstance(getattr(schedule, field, None), Set) for field, _ in FIELDS):
        fields = [_field(getattr(schedule, field), whole) for field, whole in FIELDS]
        return _cron(fields, _own_zone(schedule) or zone, now, notes)
    if isinstance(getattr(schedule, "run_every", None), timedelta):
        return _interval(schedule.run_every)
    raise CannotImport(f"a schedule of type {type(schedule).__name__} cannot be read: crontab and intervals can")


def _own_zone(schedule: object) -> str | None:
    """Return the zone that a crontab was made with, as django-celery-beat's are; None for a plain one.

    That one has `tz` too, computed of whatever app is current when it is asked; but beat binds it to its own.
    """
    zone = getattr(schedule, "__dict__", {}).get("tz")
    return str(zone) if zone else None


def _cron(fields: Sequence[str], zone: str | None, now: datetime, notes: list[Note]) -> dict[str, Any]:
    if len(fields) != len(FIELDS):
        raise CannotImport(f"schedule '{' '.join(fields)}' has not the five fields of cron")
    if zone is None:
        notes.append(Note(Difference.TIME_ZONE, NO_ZONE))
    zone = "Etc/UTC" if zone in (None, "UTC", "GMT") else zone
    if zone not in zone_names():
        raise CannotImport(f"time zone {zone!r} is not in the IANA time zone database")
    expression = " ".join(fields)
    if fields[2] != "*" and fields[4] != "*":
        expression = both_days(fields)
        notes.append(Note(Difference.DAY_FIELDS, "Celery wants both day fields to match; here this says the same"))
    notes += clock_notes(Cron(expression, zone), Clocks.CELERY, now)
    return {"schedule": expression, "timeZone": zone}


def _field(values: Iterable[int], whole: range) -> str:
    """Return a field of cron of a set of numbers: `*`, a step of everything, or a list of numbers and ranges."""
    numbers = sorted(set(values))
    if numbers == list(whole):
        return "*"
    for step in range(2, len(whole) // 2 + 1):
        if numbers == list(whole[::step]):
            return f"*/{step}"
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(p[0]) if len(p) == 1 else f"{p[0]}{'-' if len(p) > 2 else ','}{p[-1]}" for p in parts)


def _seconds(number: float, what: str) -> timedelta:
    try:
        return timedelta(seconds=number)
    except (ValueError, OverflowError):
        raise CannotImport(f"an {what} of {number} s has no equivalent") from None


def _interval(period: timedelta) -> dict[str, Any]:
    if not SECOND <= period <= LEAP_YEAR:
        raise CannotImport(f"an interval of {period.total_seconds():g} s has no equivalent: fixedRate is 1s to 8784h")
    return {"fixedRate": format_duration(period)}


def _start(start: datetime | None, timing: Mapping[str, Any], now: datetime, notes: list[Note]) -> dict[str, Any]:
    """Return what the start_time of a task says, with a note of what a schedule counts from."""
    if "fixedRate" in timing:
        origin = "startTime" if start else "the creation of the ScheduledJob"
        notes.append(Note(Difference.GRID, f"counts from {origin}; Celery from when beat last sent it"))
    elif start and _aware(start) > now:
        sentence = "beat sends a task that never ran at its start_time too, whatever its schedule; here it is not fired"
        notes.append(Note(Difference.GRID, sentence))
    return {"startTime": _text(start)} if start else {}


def _time(expires: Any) -> Any:
    """Return what `expires` says: a time with its offset, and anything else as it is."""
    if isinstance(expires, str):
        try:
            expires = datetime.fromisoformat(expires)
        except ValueError:
            raise CannotImport(f"its expires {expires!r} is no time") from None
    return _aware(expires) if isinstance(expires, datetime) else expires


def _aware(moment: datetime) -> datetime:
    """Return a moment with its offset: UTC where it has none, as Celery has it."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _handler(task: str, handlers: Sequence[tuple[str, str]], notes: list[Note]) -> str:
    for pattern, handler in handlers:
        if fnmatch.fnmatchcase(task, pattern):
            notes.append(
                Note(Difference.HANDLER, f"{handler} gets the payload {{task, args, kwargs}}: it must take that")
            )
            return handler
    name = re.sub(r"[^a-z0-9.-]+", "-", task.lower()).strip("-.")[-LONGEST_HANDLER:].lstrip("-.0123456789") or "task"
    sentence = f"a handler {name} is to be written for the task {task}, or --handler names one that there is"
    notes.append(Note(Difference.HANDLER, sentence))
    return name


def _options(options: Any, payload: dict[str, Any], now: datetime, notes: list[Note]) -> dict[str, Any]:
    """Return what the options of a task say of the spec; the queue goes to the payload."""
    if not isinstance(options, Mapping):
        raise CannotImport("its options are no mapping")
    if options.get("queue"):
        payload["queue"] = json_value(options["queue"], "options.queue")
    if lost := sorted(str(key) for key, value in options.items() if key not in OPTIONS and value is not None):
        notes.append(Note(Difference.OPTIONS, f"{', '.join(lost)} of options have no equivalent"))
    expires = _time(options.get("expires"))
    if isinstance(expires, datetime):
        if expires > now:
            return {"endTime": _text(expires)}
        sentence = f"expires, {_text(expires)}, has passed: no worker runs what is sent since"
        notes.append(Note(Difference.SUSPENDED, sentence))
        return {"suspend": True}
    if isinstance(expires, int | float):
        expires = _seconds(expires, "expires")
    if not isinstance(expires, timedelta):
        return {}
    deadline = min(max(expires, SECOND), LEAP_YEAR)
    notes.append(Note(Difference.DEADLINE, "expires is startingDeadline: counted to the start here, by a worker there"))
    return {} if deadline == DAY else {"startingDeadline": format_duration(deadline)}
