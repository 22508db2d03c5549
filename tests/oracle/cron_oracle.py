"""When a cron expression is due, by brute force: every minute of a stretch is asked, one by one.

Independent of the operator: its own reading of the fields, the standard library's zoneinfo, no shared code. The zones
come from the same tz database, since that is data and not reckoning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from random import Random
from zoneinfo import ZoneInfo

MINUTE = 60
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


def zone(name: str) -> ZoneInfo:
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as source:
        return ZoneInfo.from_file(source, key=name)


def all_zones() -> list[str]:
    return (files("tzdata") / "zones").read_text().split()


def transitions(tz: ZoneInfo, first: int, last: int) -> list[int]:
    """Instants, to the minute, at which the offset changes within the years [first, last]."""
    now = int(datetime(first, 1, 1, tzinfo=UTC).timestamp())
    end = int(datetime(last + 1, 1, 1, tzinfo=UTC).timestamp())
    found, step = [], 6 * 3600
    before = datetime.fromtimestamp(now, tz).utcoffset()
    while now < end:
        after = datetime.fromtimestamp(now + step, tz).utcoffset()
        if after != before:
            found.append(next(t for t in range(now, now + step + 1, MINUTE) if _offset(tz, t) == after))
            before = after
        now += step
    return found


def _offset(tz: ZoneInfo, instant: int) -> timedelta | None:
    return datetime.fromtimestamp(instant, tz).utcoffset()


@dataclass(frozen=True)
class Minute:
    instant: int
    local: tuple[int, int, int, int, int]  # minute, hour, day, month, weekday from Sunday
    is_second_pass: bool
    skipped: tuple[tuple[int, int, int, int, int], ...]  # local minutes that a gap before this one swallowed


def timeline(tz: ZoneInfo, start: int, end: int) -> list[Minute]:
    """Every minute of [start, end) with its local reading."""
    found = []
    previous = datetime.fromtimestamp(start - MINUTE, tz).replace(tzinfo=None)
    for instant in range(start, end, MINUTE):
        aware = datetime.fromtimestamp(instant, tz)
        local = aware.replace(tzinfo=None, fold=0)
        skipped = []
        missing = previous + timedelta(minutes=1)
        while missing < local:
            skipped.append(_fields(missing))
            missing += timedelta(minutes=1)
        found.append(Minute(instant, _fields(local), aware.fold == 1, tuple(skipped)))
        previous = local
    return found


def _fields(local: datetime) -> tuple[int, int, int, int, int]:
    return local.minute, local.hour, local.day, local.month, local.isoweekday() % 7


def due(expression: str, minutes: list[Minute]) -> list[int]:
    """The instants at which a five-field expression is due, of those in the timeline."""
    fields = expression.split()
    allowed = [_allowed(field, *bounds) for field, bounds in zip(fields, RANGES, strict=True)]
    is_fixed = not any(mark in field for field in fields[:2] for mark in "*/-")
    return [minute.instant for minute in minutes if _is_due(allowed, fields, minute, is_fixed=is_fixed)]


def _is_due(allowed: list[set[int]], fields: list[str], minute: Minute, *, is_fixed: bool) -> bool:
    if _matches(allowed, fields, minute.local) and not (is_fixed and minute.is_second_pass):
        return True
    return is_fixed and any(_matches(allowed, fields, local) for local in minute.skipped)


def _matches(allowed: list[set[int]], fields: list[str], local: tuple[int, int, int, int, int]) -> bool:
    if local[0] not in allowed[0] or local[1] not in allowed[1] or local[3] not in allowed[3]:
        return False
    by_day, by_weekday = local[2] in allowed[2], local[4] in allowed[4]
    is_either = not any("*" in fields[k].split(",") for k in (2, 4))
    return by_day or by_weekday if is_either else by_day and by_weekday


def _allowed(field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        begin, end = (low, high) if first == "*" else (int(first), int(last or (high if step else first)))
        value, left = begin, (end - begin) if begin <= end else (end - begin + high - low + 1)
        while left >= 0:
            found.add((value - low) % (high - low + 1) + low)
            value, left = value + int(step or 1), left - int(step or 1)
    return found


def expressions(random: Random, hour: int) -> Iterator[str]:
    """Random expressions that are likely to be due near this local hour, some of fixed times and some not."""
    while True:
        hours = [str((hour + random.randint(-2, 2)) % 24) for _ in range(random.choice((1, 1, 2)))]
        ranges = [f"{hours[0]}-{hours[0]}", f"{(hour - 2) % 24}-{(hour + 2) % 24}/{random.randint(1, 3)}"]
        hour_field = random.choice(["*", "*/2", *[",".join(hours)] * 3, *ranges])
        some = str(random.randint(0, 59))
        minute = random.choice(["*/5", "*", "*/30", "0", "30", "59", "0,30", some, "10-20", f"{some}-{some}", "50-9/7"])
        day = random.choice(["*", "*", "*", "*", "1-15", "*/2", "31", "*,31", "15-15", "1-31"])
        weekday = random.choice(
            ["*", "*", "*", "*", "0", "1-5", "6,7", "2-2", "7-7", "5-7", "6-1", "3,*", "0-6", "3/2"]
        )
        month = random.choice(["*", "*", "*", "*", "3,10", "4-11", "3-3", "10-4"])
        yield f"{minute} {hour_field} {day} {month} {weekday}"
