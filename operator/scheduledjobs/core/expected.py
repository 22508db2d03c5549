"""Which moments were due, recomputed from the stored versions alone: what the log is held against.

A version is in force from its effective_from (inclusive) to that of the next one (exclusive). The moments of a
fixedDelay follow from the ends of its runs, so they are not known from versions; see ledger/verify.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from scheduledjobs.core.decide import TICK
from scheduledjobs.core.schedule import FixedDelay, OneShot, Schedule, moments


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time [since, until) in which one schedule was in force; None: nothing was due, or it has no end."""

    version: int
    schedule: Schedule | None
    anchor: datetime | None
    since: datetime
    until: datetime | None
    replaced_at: datetime | None = None
    """When the next version was recorded: before `until`, where the clock was set back."""

    def holds(self, moment: datetime) -> bool:
        """Return whether this segment is in force at an instant."""
        return self.since <= moment and (self.until is None or moment < self.until)

    def moments(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the moments of this segment in [since, until)."""
        if self.schedule is None or isinstance(self.schedule, FixedDelay | OneShot):
            return
        first = max(since, self.since)
        last = until if self.until is None else min(until, self.until)
        if first < last:
            yield from moments(self.schedule, first - TICK, last - TICK, self.anchor)


Version = tuple[int, Schedule | None, datetime | None, datetime, datetime]
"""Number, schedule, anchor, effective_from and recorded_at."""


def segments(versions: Sequence[Version]) -> list[Segment]:
    """Return the segments of versions in the order they were recorded.

    What is recorded later counts from its effective_from on, so a version that began no earlier was in force for no
    time: one with the same instant, or one of before the clock was set back. It may have had a one-shot nevertheless.
    """
    found: list[Segment] = []
    for number, schedule, anchor, since, recorded_at in versions:
        while found and found[-1].since >= since and not _is_once_before(found[-1].schedule, since):
            found.pop()
        if found:
            before = found[-1]
            first = recorded_at if before.replaced_at is None else before.replaced_at
            found[-1] = replace(before, until=since, replaced_at=first)
        found.append(Segment(number, schedule, anchor, since, None))
    return found


def _is_once_before(schedule: Schedule | None, at: datetime) -> bool:
    return isinstance(schedule, OneShot) and schedule.run_at < at


def due_moments(
    found: Sequence[Segment], since: datetime, until: datetime, decided: Collection[datetime] = ()
) -> list[datetime]:
    """Return every moment that was due in [since, until), rising; without those of a fixedDelay.

    `decided` are the fire times of rows. Versions alone do not tell whether a one-shot comes after the moments of a
    fixedDelay, nor whether it was fired before the clock was set back, or replaced before its moment came again.
    """
    due: list[datetime] = []
    newest: datetime | None = None
    for segment in found:
        if isinstance(segment.schedule, OneShot):
            once = _once(segment, segment.schedule, newest, decided)
            run = [once] if once is not None and since <= once < until else []
            newest = once or newest
        elif isinstance(segment.schedule, FixedDelay):
            run = []
            newest = max(filter(segment.holds, decided), default=newest)
        else:
            run = list(segment.moments(since, until))
            newest = run[-1] if run else newest
        due += run
    return sorted(due)


def _once(
    segment: Segment, schedule: OneShot, newest: datetime | None, decided: Collection[datetime]
) -> datetime | None:
    """A one-shot is due whenever it is recorded, unless a newer version came first, or a later moment was decided."""
    run_at = schedule.run_at
    is_replaced = segment.until is not None and run_at >= segment.until
    if is_replaced or (newest is not None and run_at <= newest):
        return None
    had_come = segment.replaced_at is None or run_at < segment.replaced_at or run_at in decided
    return run_at if had_come else None
