"""Schedules: one question, `next_fire`, answered by one pure function that everything uses.

CRON follows its zone (see walk.py). FIXED_RATE is a grid: anchor + k x period, the anchor being startTime or the
stored instant from which the schedule counts, so it neither drifts nor shifts at a restart. FIXED_DELAY counts from
the end of the last run. ONE_SHOT is one moment. Nothing is due outside [startTime, endTime).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from scheduledjobs.core.cron import CronFields, parse_cron
from scheduledjobs.core.duration import format_duration
from scheduledjobs.core.reasons import Reason, ScheduleKind
from scheduledjobs.core.walk import instant, pieces
from scheduledjobs.core.zone import load_zone
from scheduledjobs.errors import SpecError

YEARS = range(1970, 9001)
"""Years whose moments may be asked for: Python's time ends with 9999, and a look ahead may take decades."""

TICK = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LOOKS_SECONDS = (2 * 86_400, 300 * 86_400, 30 * 366 * 86_400)
"""How far ahead to look for a moment: the offsets of a zone, which are looked up by the year, take most of the time."""

LATEST_LOOK = int(datetime(9998, 12, 31, tzinfo=UTC).timestamp())
"""A cron has no moment from here on: a year is looked up with the first day of the next, and Python ends with 9999."""


@dataclass(frozen=True, slots=True)
class Window:
    """Nothing is due before `start` or at `end` and after; None is open."""

    start: datetime | None = None
    end: datetime | None = None

    def holds(self, moment: datetime) -> bool:
        """Return whether a moment lies in the window."""
        return (self.start is None or moment >= self.start) and (self.end is None or moment < self.end)


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression in a zone."""

    text: str
    zone: str
    window: Window = Window()
    kind = ScheduleKind.CRON


@dataclass(frozen=True, slots=True)
class FixedRate:
    """A grid of moments, `period` apart."""

    period: timedelta
    window: Window = Window()
    kind = ScheduleKind.FIXED_RATE

    @property
    def text(self) -> str:
        """The schedule in words."""
        return f"every {format_duration(self.period)}"


@dataclass(frozen=True, slots=True)
class FixedDelay:
    """A moment `delay` after the end of the last run."""

    delay: timedelta
    window: Window = Window()
    kind = ScheduleKind.FIXED_DELAY

    @property
    def text(self) -> str:
        """The schedule in words."""
        return f"{format_duration(self.delay)} after each"


@dataclass(frozen=True, slots=True)
class OneShot:
    """One moment."""

    run_at: datetime
    window: Window = Window()
    kind = ScheduleKind.ONE_SHOT
    text = "once"


Schedule = Cron | FixedRate | FixedDelay | OneShot


def parse_schedule(
    *,
    schedule: str | None = None,
    fixed_rate: timedelta | None = None,
    fixed_delay: timedelta | None = None,
    run_at: datetime | None = None,
    time_zone: str = "Etc/UTC",
    start_time: datetime | None = None,
    end_time: datetime | None = None,
) -> Schedule:
    """Return the schedule that a spec's fields name; `SpecError` where it cannot be read or is not exactly one."""
    load_zone(time_zone)
    given = [field is not None for field in (schedule, fixed_rate, fixed_delay, run_at)]
    if sum(given) != 1:
        message = "spec: set exactly one of schedule (cron), fixedRate, fixedDelay and runAt"
        raise SpecError(Reason.INVALID_SCHEDULE, message)
    window = Window(start_time, end_time)
    if schedule is not None:
        parse_cron(schedule)
        return Cron(schedule, time_zone, window)
    if fixed_rate is not None:
        return FixedRate(fixed_rate, window)
    if fixed_delay is not None:
        return FixedDelay(fixed_delay, window)
    assert run_at is not None  # noqa: S101 exactly one is given
    return OneShot(run_at, window)


def is_askable(at: datetime) -> bool:
    """Return whether a moment is one that may be asked for, in whatever zone its year is written."""
    return at.year in YEARS


def next_fire(schedule: Schedule, after: datetime, anchor: datetime | None = None) -> datetime | None:
    """Return the first moment strictly after `after`, aware UTC, or None if none is left.

    `anchor` is needed by FIXED_RATE without a startTime. For FIXED_DELAY `after` is the end of the last run.
    """
    window = schedule.window
    if isinstance(schedule, FixedDelay):
        moment: datetime | None = max(after + schedule.delay, window.start or after)
    elif isinstance(schedule, OneShot):
        moment = schedule.run_at if schedule.run_at > after else None
    else:
        after = max(after, window.start - TICK) if window.start else after
        moment = _next_cron(schedule, after) if isinstance(schedule, Cron) else _next_rate(schedule, after, anchor)
    return moment if moment is not None and window.holds(moment) else None


def first_fire(schedule: Schedule, effective_from: datetime, anchor: datetime | None = None) -> datetime | None:
    """Return the first moment of a schedule that counts from `effective_from`; as next_fire, but for FIXED_DELAY."""
    start = schedule.window.start
    if isinstance(schedule, FixedDelay) and start is not None and start > effective_from:
        return start if schedule.window.holds(start) else None
    return next_fire(schedule, effective_from, anchor)


def following_fire(
    schedule: Schedule, ended_at: datetime, decided_until: datetime, effective_from: datetime
) -> datetime | None:
    """Return the moment of a FIXED_DELAY that follows a run: its delay after the end of the run.

    After `decided_until` and `effective_from` at least: the run may have begun under another version, and its end is a
    time of a clock that may have been set back.
    """
    return next_fire(schedule, max(ended_at, decided_until, effective_from))


@lru_cache(maxsize=65_536)
def _next_cron(schedule: Cron, after: datetime) -> datetime | None:
    start = max(_second_after(after), 1)
    fields, zone = parse_cron(schedule.text), load_zone(schedule.zone)
    for seconds in LOOKS_SECONDS if start < LATEST_LOOK else ():
        for piece in pieces(fields, zone, start, min(start + seconds, LATEST_LOOK)):
            return instant(piece.first)
    return None


def _second_after(moment: datetime) -> int:
    """Return the first whole second after a moment, since 1970 UTC. A float of it may round up, from 2514 on."""
    return (moment - EPOCH) // SECOND + 1


def _next_rate(schedule: FixedRate, after: datetime, anchor: datetime | None) -> datetime:
    origin = _origin(schedule, anchor)
    if after < origin:
        return origin if schedule.window.start is not None else origin + schedule.period
    return origin + ((after - origin) // schedule.period + 1) * schedule.period


def _origin(schedule: FixedRate, anchor: datetime | None) -> datetime:
    origin = schedule.window.start or anchor
    if origin is None:
        raise ValueError("a fixedRate without startTime needs its anchor")
    return origin


@dataclass(frozen=True, slots=True)
class Moments:
    """The moments of a stretch of time: counted without being listed, listed when iterated over."""

    count: int
    first: datetime | None
    last: datetime | None
    runs: tuple[Iterable[datetime] | Iterable[int], ...] = ()

    def __iter__(self) -> Iterator[datetime]:
        for run in self.runs:
            for moment in run:
                yield moment if isinstance(moment, datetime) else instant(moment)


NONE = Moments(0, None, None)


def moments(schedule: Schedule, after: datetime, until: datetime, anchor: datetime | None = None) -> Moments:
    """Return the moments in (after, until] of a CRON, FIXED_RATE or ONE_SHOT schedule; aware UTC."""
    window = schedule.window
    after = max(after, window.start - TICK) if window.start else after
    until = min(until, window.end - TICK) if window.end else until
    if until <= after:
        return NONE
    if isinstance(schedule, Cron):
        return _cron_moments(parse_cron(schedule.text), schedule.zone, after, until)
    if isinstance(schedule, FixedRate):
        return _rate_moments(schedule, after, until, anchor)
    first = next_fire(schedule, after, anchor)
    return Moments(1, first, first, ((first,),)) if first is not None and first <= until else NONE


def _cron_moments(fields: CronFields, zone: str, after: datetime, until: datetime) -> Moments:
    start, end = _second_after(after), _second_after(until)
    found = tuple(pieces(fields, load_zone(zone), start, end)) if start < end else ()
    if not found:
        return NONE
    return Moments(sum(map(len, found)), instant(found[0].first), instant(found[-1].last), found)


def _rate_moments(schedule: FixedRate, after: datetime, until: datetime, anchor: datetime | None) -> Moments:
    first = _next_rate(schedule, after, anchor)
    if first > until:
        return NONE
    count = (until - first) // schedule.period + 1
    listed = Grid(first, schedule.period, count)
    return Moments(count, first, first + (count - 1) * schedule.period, (listed,))


@dataclass(frozen=True, slots=True)
class Grid:
    """Moments a period apart."""

    first: datetime
    period: timedelta
    count: int

    def __iter__(self) -> Iterator[datetime]:
        return (self.first + k * self.period for k in range(self.count))
