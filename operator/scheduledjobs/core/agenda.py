"""What comes: the next moments of a schedule, with what the clocks do at them; how many moments of all jobs fall when.

A note says in a sentence what a person would otherwise take for a mistake: a local time that the clocks skip or repeat,
and a change of the offset from UTC.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple
from zoneinfo import ZoneInfo

from scheduledjobs.core.cron import CronFields, parse_cron
from scheduledjobs.core.schedule import TICK, Cron, FixedDelay, Grid, Moments, Schedule, moments, next_fire
from scheduledjobs.core.walk import Piece, swallowed
from scheduledjobs.core.zone import load_zone

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
MOST_LISTED = 100_000
"""Moments that are looked at one by one to find how many fall on one instant."""

NAMED = 2
"""Local times that a note names; of more it tells how many."""


class Fire(NamedTuple):
    """A moment, aware UTC; the same in the schedule's zone; and what the clocks do there, if they do anything."""

    at: datetime
    local: datetime
    note: str | None


def fires(
    schedule: Schedule,
    after: datetime,
    count: int,
    anchor: datetime | None = None,
    *,
    known: datetime | None = None,
    zone: str = "Etc/UTC",
) -> list[Fire]:
    """Return the next moments strictly after `after`, at most `count`.

    A FIXED_DELAY counts from the end of each run, so of its moments only `known` is: the next one as it is recorded.
    A cron is told in its own zone, with notes; the other kinds, which follow no clock, in `zone`, without.
    """
    if isinstance(schedule, FixedDelay):
        instants = [known] if known is not None and count > 0 else []
    else:
        instants = list(_following(schedule, after, count, anchor))
    if isinstance(schedule, Cron):
        return list(_noted(schedule, instants))
    return [Fire(at, at.astimezone(load_zone(zone)), None) for at in instants]


def _following(schedule: Schedule, after: datetime, count: int, anchor: datetime | None) -> Iterator[datetime]:
    for _ in range(count):
        found = next_fire(schedule, after, anchor)
        if found is None:
            return
        yield found
        after = found


def _noted(schedule: Cron, instants: Sequence[datetime]) -> Iterator[Fire]:
    fields, zone = parse_cron(schedule.text), load_zone(schedule.zone)
    before: datetime | None = None
    for at in instants:
        local = at.astimezone(zone)
        notes = [_gap(fields, zone, at, local), _overlap(fields, local), _offset(before, local)]
        yield Fire(at, local, "; ".join(note for note in notes if note) or None)
        before = local


def _gap(fields: CronFields, zone: ZoneInfo, at: datetime, local: datetime) -> str | None:
    skipped = swallowed(fields, zone, int(at.timestamp()))
    if not skipped:
        return None
    named, others = skipped[:NAMED], len(skipped) - NAMED
    times = [_time(time) if time.date() == local.date() else f"{_time(time)} of {time.date()}" for time in named]
    said = f"{', '.join(times)} and {others} more" if others > 0 else " and ".join(times)
    does = "does" if len(skipped) == 1 else "do"
    that_day = " that day" if skipped[0].date() == local.date() else ""
    return f"{said} {does} not exist{that_day} in {zone.key}: the clocks go forward"


def _overlap(fields: CronFields, local: datetime) -> str | None:
    if local.replace(fold=0).utcoffset() == local.replace(fold=1).utcoffset():
        return None
    twice = f"{_time(local)} comes twice that day"
    if fields.is_fixed:
        return f"{twice}; this is the first time, and the only one that fires"
    return f"{twice}: {'second' if local.fold else 'first'} pass"


def _offset(before: datetime | None, local: datetime) -> str | None:
    if before is None or before.utcoffset() == local.utcoffset():
        return None
    return f"from here on {local:%z} instead of {before:%z}"


def _time(local: datetime) -> str:
    return f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"


class Bucket(NamedTuple):
    """A stretch of time: how many moments fall into it, and how many on one and the same instant of it, at most."""

    moments: int
    most_at_once: int


def buckets(
    jobs: Iterable[tuple[Schedule, datetime | None, datetime | None]], start: datetime, step: timedelta, count: int
) -> list[Bucket]:
    """Return what comes in each of `count` stretches of `step` from `start` on, for jobs (schedule, anchor, next fire).

    A job's moments before its own next fire do not count; one without a next fire has none. `most_at_once` compares
    the schedules with the fewest moments, up to 100,000 moments in all, instant by instant; of the others it knows only
    how many jobs have the very same moments, so it may be too low where there are very many.
    """
    tally = _Tally(start, step, count)
    for (schedule, anchor, first), jobs_alike in _alike(jobs, start, tally.end).items():
        if isinstance(schedule, FixedDelay):
            found = Moments(1, first, first, ((first,),))
        else:
            found = moments(schedule, first - TICK, tally.end - TICK, anchor)
        tally.add(found, jobs_alike)
    return tally.buckets()


def _alike(
    jobs: Iterable[tuple[Schedule, datetime | None, datetime | None]], start: datetime, end: datetime
) -> Counter[tuple[Schedule, datetime | None, datetime]]:
    """Return how many jobs have the same schedule, anchor and first moment: most crons of a cluster are not unique."""
    found: Counter[tuple[Schedule, datetime | None, datetime]] = Counter()
    for schedule, anchor, next_fire_at in jobs:
        if next_fire_at is None or next_fire_at >= end:
            continue
        if next_fire_at >= start:
            found[schedule, None if isinstance(schedule, Cron) else anchor, next_fire_at] += 1
        elif not isinstance(schedule, FixedDelay):
            found[schedule, None if isinstance(schedule, Cron) else anchor, start] += 1
    return found


class _Tally:
    """Moments counted into stretches; in whole microseconds since 1970."""

    def __init__(self, start: datetime, step: timedelta, count: int) -> None:
        self.end = start + count * step
        self._start = _microseconds(start)
        self._step = step // TICK
        self._edges = [self._start + k * self._step for k in range(count + 1)]
        self._seconds = [-(-edge // SECOND) for edge in self._edges]
        self._counts = [0] * count
        self._rise = [0] * (count + 1)
        """By how many more moments than the one before this stretch has, of the grids that are even over stretches."""

        self._most = [0] * count
        self._listed: list[tuple[int, Moments, int]] = []

    def add(self, found: Moments, jobs: int) -> None:
        """Count the moments of so many jobs alike."""
        self._listed.append((found.count, found, jobs))
        for run in found.runs:
            if isinstance(run, Grid) and run.count > len(self._counts):
                self._add_grid(run, jobs)
            elif isinstance(run, Piece) and len(run) > len(self._counts):
                self._add_piece(run, jobs)
            else:
                for instant in _instants(run):
                    self._put((instant - self._start) // self._step, 1, jobs)

    def _put(self, index: int, moments_of_each: int, jobs: int) -> None:
        if moments_of_each:
            self._counts[index] += moments_of_each * jobs
            self._most[index] = max(self._most[index], jobs)

    def _add_piece(self, piece: Piece, jobs: int) -> None:
        """Count a day of many moments without listing them."""
        low, index = piece.low, bisect_right(self._seconds, piece.first) - 1
        while low < piece.high:
            high = min(piece.times.before(self._seconds[index + 1] - piece.midnight), piece.high)
            self._put(index, high - low, jobs)
            low, index = high, index + 1

    def _add_grid(self, grid: Grid, jobs: int) -> None:
        """Count a grid of many moments by arithmetic."""
        first, period = _microseconds(grid.first), grid.period // TICK
        begin, end = ((at - self._start) // self._step for at in (first, first + (grid.count - 1) * period))
        if begin < end and self._step % period == 0:
            head, each = -(-(self._edges[begin + 1] - first) // period), self._step // period
            self._put(begin, head, jobs)
            self._put(end, grid.count - head - (end - begin - 1) * each, jobs)
            self._rise[begin + 1] += each * jobs
            self._rise[end] -= each * jobs
            if jobs > 1:
                self._most[begin + 1 : end] = [max(most, jobs) for most in self._most[begin + 1 : end]]
            return
        before = 0
        for index in range(begin, end + 1):
            until = min(-(-(self._edges[index + 1] - first) // period), grid.count)
            self._put(index, until - before, jobs)
            before = until

    def buckets(self) -> list[Bucket]:
        """Return the stretches."""
        if len(self._listed) > 1:  # moments of one schedule are never on one instant
            self._compare()
        totals = [count + level for count, level in zip(self._counts, accumulate(self._rise), strict=False)]
        return [Bucket(total, max(most, min(total, 1))) for total, most in zip(totals, self._most, strict=True)]

    def _compare(self) -> None:
        """Find how many moments fall on one instant, of as many as may be listed."""
        at: Counter[int] = Counter()
        left = MOST_LISTED
        for count, found, jobs in sorted(self._listed, key=itemgetter(0)):
            left -= count
            if left < 0:
                break
            for run in found.runs:
                for instant in _instants(run):
                    at[instant] += jobs
        for instant, jobs in at.items():
            index = (instant - self._start) // self._step
            self._most[index] = max(self._most[index], jobs)


def _instants(run: Iterable[datetime] | Iterable[int]) -> Iterable[int]:
    if isinstance(run, Piece):
        return (second * SECOND for second in run)
    if isinstance(run, Grid):
        first, period = _microseconds(run.first), run.period // TICK
        return range(first, first + run.count * period, period)
    return (_microseconds(moment) for moment in run if isinstance(moment, datetime))


def _microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // TICK
