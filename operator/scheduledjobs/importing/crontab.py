"""Cron expressions of other schedulers in our words: what is written otherwise, and what means something else.

robfig/cron, which Kubernetes' CronJob uses: `?` is `*`, `@every` is an interval, a prefix `TZ=` names a zone; both day
fields restricted: either matches, as here. Vixie cron, which pg_cron uses: a day field that begins with `*` never
restricts, one with a `*` further on does, to every day, and `$` is the last day of the month. Celery: all five fields
must match, always.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from scheduledjobs.core.cron import parse_cron
from scheduledjobs.core.cronfield import FIELDS, has_star
from scheduledjobs.importing.imported import CannotImport, Difference, Note

ZONE = re.compile(r"(?:CRON_)?TZ=(\S+)\s+(.*)", re.DOTALL)
GO_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|µs|ns|m|s)")
GO_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
MOST_SECONDS = 1e9
"""More than any interval may have here, and less than a timedelta can."""

WHOLE_MONTH, WHOLE_WEEK = frozenset(range(1, 32)), frozenset(range(7))


@dataclass(frozen=True, slots=True)
class Robfig:
    """A schedule as a CronJob has it: an expression or an interval, and the zone that the expression itself names."""

    expression: str | None
    period: timedelta | None
    zone: str | None


def read_robfig(text: str) -> Robfig:
    """Return what a CronJob's schedule says, in our words; `CannotImport` for one that no CronJob could have."""
    zone = None
    if found := ZONE.fullmatch(text.strip()):
        zone, text = found.group(1), found.group(2)
    text = " ".join(text.split())
    if text.startswith("@every "):
        return Robfig(None, _go_duration(text.removeprefix("@every ")), zone)
    if text.startswith("@"):
        return Robfig(text, None, zone)
    return Robfig(text.replace("?", "*"), None, zone)


def _go_duration(text: str) -> timedelta:
    """Return a duration of Go's form as robfig/cron takes it: whole seconds, one at least."""
    parts = GO_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise CannotImport(f"'@every {text}' is no duration")
    seconds = sum(float(number) * GO_SECONDS[unit] for number, unit in parts)
    return timedelta(seconds=max(1, int(min(seconds, MOST_SECONDS))))


def read_vixie(text: str) -> tuple[str, list[Note]]:
    """Return a pg_cron expression in our words and what it means otherwise; `CannotImport` where it cannot be said.

    A macro stays as it is. Other expressions have five fields, none of seconds.
    """
    text = " ".join(text.split())
    if text.startswith("@"):
        return text, []
    fields = text.split()
    if len(fields) != 5:
        return text, []
    fields[2] = ",".join("L" if part == "$" else part for part in fields[2].split(","))
    _refuse_backward(fields)
    for index, whole in ((2, "1-31"), (4, "0-6")):
        if fields[index][0] != "*" and has_star(fields[index].split(",")):
            fields[index] = whole
    if not _has_stepped_day(fields):
        return " ".join(fields), []
    expression = both_days(fields)
    return expression, [Note(Difference.DAY_FIELDS, f"pg_cron wants both day fields of '{text}' to match")]


def _refuse_backward(fields: Sequence[str]) -> None:
    """Raise `CannotImport` for a range that passes the end of its field: here it goes on, there it sets other bits."""
    parse_cron(" ".join(fields))
    for field, text in zip(FIELDS[1:], fields, strict=True):
        for part in text.split(","):
            ends = field.ends(part)
            if ends is not None and ends[0] > ends[1]:
                raise CannotImport(
                    f"{field.name} '{part}' runs backward, which pg_cron takes for other times, or for none"
                )


def _has_stepped_day(fields: Sequence[str]) -> bool:
    """Return whether a day field begins with `*`, restricts nevertheless, and stands beside another that restricts."""
    days = [fields[2], fields[4]]
    return any(day.startswith("*/") for day in days) and not any(day in ("*", "*/1") for day in days)


def both_days(fields: Sequence[str]) -> str:
    """Return an expression for days that match day of month *and* day of week; `CannotImport` where there is none.

    Here either matches. What can be said is a weekday in one week of the month: days 1-7 and Monday is `1#1`.
    """
    parsed = parse_cron(" ".join(fields))
    days, weekdays = parsed.days or WHOLE_MONTH, parsed.weekdays or WHOLE_WEEK
    if parsed.last_day or parsed.nth:
        raise CannotImport(_not_both(fields))
    if days == WHOLE_MONTH:
        return " ".join([fields[0], fields[1], "*", fields[3], fields[4]])
    if weekdays == WHOLE_WEEK:
        return " ".join([*fields[:4], "*"])
    weeks = [week for week in range(1, 6) if set(range(7 * week - 6, min(7 * week, 31) + 1)) <= days]
    covered = {day for week in weeks for day in range(7 * week - 6, min(7 * week, 31) + 1)}
    if not weeks or covered != days:
        raise CannotImport(_not_both(fields))
    nth = ",".join(f"{weekday}#{week}" for weekday in sorted(weekdays) for week in weeks)
    return " ".join([fields[0], fields[1], "*", fields[3], nth])


def _not_both(fields: Sequence[str]) -> str:
    return (
        f"day of month '{fields[2]}' and day of week '{fields[4]}' must both match there; here either would, and no "
        "expression says both"
    )
