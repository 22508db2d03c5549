"""Cron expressions: croniter reads the fields, this module says what is accepted and which days and times match.

Accepted: five fields, six with seconds first, and @hourly @daily @midnight @weekly @monthly @yearly @annually; names,
ranges, steps, lists, `L` (last day of the month), `L5` (last Friday) and `5#3` (third Friday). Where day of month and
day of week are both restricted, either matches; a list with `*` in it is no restriction. What CronJob takes means here
what it means there; croniter's own additions (`R`, `H`, `W`) are refused, as the API server does.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from croniter import croniter
from croniter.croniter import CroniterError

from scheduledjobs.core.cronfield import FIELDS, NTH, WEEKDAYS, has_star
from scheduledjobs.core.reasons import Reason
from scheduledjobs.core.times import Times
from scheduledjobs.errors import SpecError

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
WRITTEN = re.compile(r"[0-9A-Za-z*,/#-]+")
FIRST_YEAR, LAST_YEAR = 2000, 2040


@dataclass(frozen=True, slots=True)
class CronFields:
    """An expression taken apart: the seconds of a day at which it fires, and which days it fires on.

    An empty `days`, `weekdays` and `nth` means every day. `nth` holds (weekday, which) with which 1 to 5, or -1 for
    the last; weekdays count from Sunday = 0. `is_fixed` is true where second, minute and hour are plain values, so
    that a local time is meant and not an interval.
    """

    times: Times
    months: frozenset[int]
    days: frozenset[int]
    last_day: bool
    weekdays: frozenset[int]
    nth: frozenset[tuple[int, int]]
    is_fixed: bool

    def matches(self, day: date) -> bool:
        """Return whether the expression fires on this day."""
        if day.month not in self.months:
            return False
        by_month = bool(self.days) or self.last_day
        by_week = bool(self.weekdays) or bool(self.nth)
        if by_month and by_week:
            return self._in_month(day) or self._in_week(day)
        return self._in_month(day) if by_month else not by_week or self._in_week(day)

    def _in_month(self, day: date) -> bool:
        return day.day in self.days or (self.last_day and day.day == monthrange(day.year, day.month)[1])

    def _in_week(self, day: date) -> bool:
        weekday = day.isoweekday() % 7
        if weekday in self.weekdays:
            return True
        if not self.nth:
            return False
        is_last = day.day + 7 > monthrange(day.year, day.month)[1]
        return (weekday, (day.day - 1) // 7 + 1) in self.nth or (is_last and (weekday, -1) in self.nth)

    def days_from(self, first: date, last: date) -> Iterator[date]:
        """Yield the matching days in [first, last], skipping months that do not match."""
        ordinal, end = first.toordinal(), last.toordinal()
        while ordinal <= end:
            day = date.fromordinal(ordinal)
            if day.month not in self.months:
                ordinal += monthrange(day.year, day.month)[1] - day.day + 1
                continue
            if self.matches(day):
                yield day
            ordinal += 1


@lru_cache(maxsize=4096)
def parse_cron(expression: str) -> CronFields:
    """Return the fields of an expression; `SpecError` InvalidSchedule, with a sentence, where it is not accepted."""
    text = MACROS.get(expression, expression).strip()
    _refuse_foreign(expression, text)
    fields = text.split()
    *clock, days, months, weekdays = _written_out(expression, ["0", *fields][-6:])
    nth = [part for part in weekdays if NTH.fullmatch(part)]
    plain = [part for part in weekdays if part not in nth]
    minute, hour, day, month, weekday, second = _expanded(expression, [*clock, days, months, plain or ["*"]])
    parsed = CronFields(
        times=Times(_values(hour, 0, 23), _values(minute, 0, 59), _values(second, 0, 59)),
        months=frozenset(_values(month, 1, 12)),
        days=frozenset() if has_star(days) else frozenset(_values(day, 1, 31)),
        last_day="l" in days and not has_star(days),
        weekdays=frozenset() if has_star(weekdays) or not plain else frozenset(_values(weekday, 0, 6)),
        nth=frozenset() if has_star(weekdays) else frozenset(map(_nth, nth)),
        is_fixed=not any(mark in field for field in fields[: len(fields) - 3] for mark in "*/-"),
    )
    if next(parsed.days_from(date(FIRST_YEAR, 1, 1), date(LAST_YEAR, 12, 31)), None) is None:
        raise _invalid(expression, "names a date that never comes")
    return parsed


def _refuse_foreign(expression: str, text: str) -> None:
    if "TZ=" in expression:
        raise _invalid(expression, "must not name a zone: put it into spec.timeZone")
    if expression.startswith("@") and expression not in MACROS:
        allowed = ", ".join(MACROS)
        raise _invalid(expression, f"must be one of {allowed}; for @every use fixedRate, for one moment runAt")
    fields = text.split()
    if len(fields) not in (5, 6):
        hint = "must have 5 fields (minute hour day-of-month month day-of-week), or 6 with seconds first"
        raise _invalid(expression, hint)
    if not all(WRITTEN.fullmatch(field) for field in fields):
        raise _invalid(expression, "has a character that cron does not know")


def _invalid(expression: str, what: str) -> SpecError:
    return SpecError(Reason.INVALID_SCHEDULE, f"spec.schedule: {expression!r} {what}")


def _written_out(expression: str, fields: list[str]) -> list[list[str]]:
    """Return the parts of six fields, without ranges."""
    try:
        return [
            [number for part in text.split(",") for number in field.written_out(part).split(",")]
            for field, text in zip(FIELDS, fields, strict=True)
        ]
    except ValueError as error:
        raise _invalid(expression, f"is not cron: {error}") from error


def _expanded(expression: str, fields: list[list[str]]) -> list[list[int | str]]:
    """Return the numbers of six fields, the seconds last, as croniter reads them."""
    text = " ".join(map(",".join, fields))
    try:
        expanded: list[list[int | str]] = croniter.expand(text, second_at_beginning=True)[0]
    except (CroniterError, ValueError, KeyError, TypeError) as error:
        raise _invalid(expression, f"is not cron: {str(error) or type(error).__name__}") from error
    return expanded


def _values(field: list[int | str], low: int, high: int) -> tuple[int, ...]:
    return tuple(range(low, high + 1)) if "*" in field else tuple(sorted({int(v) for v in field if v != "l"}))


def _nth(part: str) -> tuple[int, int]:
    if part.startswith("l"):
        return int(part[1:]) % 7, -1
    weekday, _, which = part.partition("#")
    return WEEKDAYS.index(weekday) if weekday in WEEKDAYS else int(weekday) % 7, int(which)
