"""Time zones as a list of offset changes, from the tz database that is installed with this package.

Never the host's database: two replicas must agree on when a job is due. Instants are whole seconds since 1970 UTC.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from scheduledjobs.core.reasons import Reason
from scheduledjobs.errors import SpecError

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of a zone's offset: at the instant `at`, from `before` to `after` (seconds east of UTC)."""

    at: int
    before: int
    after: int


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Return every name of the tz database."""
    return frozenset((files("tzdata") / "zones").read_text().split())


@lru_cache(maxsize=1024)
def load_zone(name: str) -> ZoneInfo:
    """Return the zone of an IANA name; `SpecError` UnknownTimeZone where the database has none."""
    if name not in zone_names():
        message = f"spec.timeZone: {name!r} is not in the IANA time zone database of this operator, e.g. Europe/Berlin"
        raise SpecError(Reason.UNKNOWN_TIME_ZONE, message)
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as source:
        return ZoneInfo.from_file(source, key=name)


def offset_at(zone: ZoneInfo, instant: int) -> int:
    """Return the zone's offset at an instant, in seconds east of UTC."""
    offset = datetime.fromtimestamp(instant, zone).utcoffset()
    return round((offset or timedelta(0)).total_seconds())


@lru_cache(maxsize=8192)
def transitions_of(zone: ZoneInfo, year: int) -> tuple[Transition, ...]:
    """Return the transitions within a UTC year, oldest first.

    Found by looking at the offset once a day and bisecting where it differs: no zone changes twice within one day and
    back (a test looks at every zone).
    """
    start = round(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    end = round(datetime(year + 1, 1, 1, tzinfo=UTC).timestamp())
    found = []
    before = offset_at(zone, start)
    for day in range(start, end, DAY_SECONDS):
        after = offset_at(zone, day + DAY_SECONDS)
        if after != before:
            found.append(Transition(_change_between(zone, day, day + DAY_SECONDS), before, after))
            before = after
    return tuple(found)


def _change_between(zone: ZoneInfo, low: int, high: int) -> int:
    before = offset_at(zone, low)
    while high - low > 1:
        middle = (low + high) // 2
        if offset_at(zone, middle) == before:
            low = middle
        else:
            high = middle
    return high


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of constant offset: instants [start, end); `before` is the offset before it, if a change began it."""

    start: int
    end: int
    offset: int
    before: int


def segments(zone: ZoneInfo, start: int, end: int) -> list[Segment]:
    """Return the stretches of constant offset that cover [start, end), whole years of them, oldest first."""
    first, last = datetime.fromtimestamp(start, UTC).year, datetime.fromtimestamp(end, UTC).year
    found, ends = (_segments_of_years if last - first <= 1 else _segments_of_years.__wrapped__)(zone, first, last)
    return [segment for segment in found[bisect_right(ends, start) :] if segment.start < end]


@lru_cache(maxsize=1024)  # every decision asks for those of this year; those of decades are large, and seldom asked for
def _segments_of_years(zone: ZoneInfo, first: int, last: int) -> tuple[tuple[Segment, ...], tuple[int, ...]]:
    """Return the stretches of constant offset in years that cover them, and the end of each."""
    changes = [change for year in range(first, last + 1) for change in transitions_of(zone, year)]
    begin = round(datetime(first, 1, 1, tzinfo=UTC).timestamp())
    finish = round(datetime(last + 1, 1, 1, tzinfo=UTC).timestamp())
    offset = offset_at(zone, begin)
    found = []
    previous = offset
    for change in changes:
        found.append(Segment(begin, change.at, offset, previous))
        begin, previous, offset = change.at, change.before, change.after
    found.append(Segment(begin, finish, offset, previous))
    return tuple(found), tuple(segment.end for segment in found)
