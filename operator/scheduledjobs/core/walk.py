"""The walk of a cron expression over a zone's offsets: croniter is wrong across DST, so this is ours.

An expression whose second, minute or hour holds `*`, `/` or a range follows real time: it fires in both passes of an
overlap, and not in a gap. Fixed local times fire once in an overlap, in its first pass, and once at the first instant
after a gap that swallowed any of them.

Each local day of a stretch of constant offset is one *piece*: its midnight and a slice of the expression's seconds of
a day. So a day of moments is counted by two bisections and listed only when somebody wants the list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from scheduledjobs.core.cron import CronFields
from scheduledjobs.core.times import MIDNIGHT, Times
from scheduledjobs.core.zone import DAY_SECONDS, Segment, segments

EPOCH_DAY = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Piece:
    """Moments of one local day: `midnight + times[low:high]`, in seconds since 1970 UTC."""

    midnight: int
    times: Times
    low: int
    high: int

    def __len__(self) -> int:
        return self.high - self.low

    @property
    def first(self) -> int:
        """The oldest moment."""
        return self.midnight + self.times[self.low]

    @property
    def last(self) -> int:
        """The newest moment."""
        return self.midnight + self.times[self.high - 1]

    def __iter__(self) -> Iterator[int]:
        return map(self.midnight.__add__, self.times.between(self.low, self.high))


def pieces(fields: CronFields, zone: ZoneInfo, start: int, end: int) -> Iterator[Piece]:
    """Yield the moments in [start, end), in order, as non-empty pieces."""
    for segment in segments(zone, start, end):
        low = segment.start
        if fields.is_fixed and segment.offset > segment.before and start <= segment.start < end:
            if next(_skipped(fields, segment), None) is not None:
                yield Piece(segment.start, MIDNIGHT, 0, 1)
                low += 1
        elif fields.is_fixed and segment.offset < segment.before:
            low += segment.before - segment.offset  # the second pass of an overlap
        yield from _days(fields, segment.offset, max(low, start), min(segment.end, end))


def swallowed(fields: CronFields, zone: ZoneInfo, at: int) -> list[datetime]:
    """Return the local times, naive, that a gap which ends at `at` has swallowed and that `at` stands in for."""
    (segment,) = segments(zone, at, at + 1)
    if not fields.is_fixed or segment.start != at or segment.offset <= segment.before:
        return []
    return [
        instant(second + segment.before).replace(tzinfo=None) for day in _skipped(fields, segment) for second in day
    ]


def _skipped(fields: CronFields, segment: Segment) -> Iterator[Piece]:
    """Yield the moments whose local times the gap before `segment` has skipped."""
    return _days(fields, segment.before, segment.start, segment.start + segment.offset - segment.before)


def _days(fields: CronFields, offset: int, start: int, end: int) -> Iterator[Piece]:
    """Yield the pieces in [start, end) as if the offset were always this one."""
    if start >= end:
        return
    for day in fields.days_from(_local_day(start, offset), _local_day(end - 1, offset)):
        midnight = (day.toordinal() - EPOCH_DAY) * DAY_SECONDS - offset
        low, high = fields.times.before(start - midnight), fields.times.before(end - midnight)
        if low < high:
            yield Piece(midnight, fields.times, low, high)


def _local_day(instant: int, offset: int) -> date:
    return date.fromordinal(EPOCH_DAY + (instant + offset) // DAY_SECONDS)


def instant(seconds: int) -> datetime:
    """Return an aware UTC datetime of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)
