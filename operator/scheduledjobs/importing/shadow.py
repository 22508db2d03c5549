"""A comparison of two schedulers' fire times over a stretch of time: which are the same, and which only one has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduledjobs.core.schedule import FixedRate, Schedule, moments

MOST_SHOWN = 3
HEADER = ("JOB", "SAME", "OURS ONLY", "THEIRS ONLY")


@dataclass(frozen=True, slots=True)
class Compared:
    """The fire times of one job, oldest first; `same` are ours of them."""

    origin: str
    same: tuple[datetime, ...]
    ours_only: tuple[datetime, ...]
    theirs_only: tuple[datetime, ...]

    @property
    def differs(self) -> bool:
        """Return whether either has a moment that the other has not."""
        return bool(self.ours_only or self.theirs_only)


def our_moments(
    schedule: Schedule, after: datetime, until: datetime, seen: Iterable[datetime], *, is_suspended: bool
) -> list[datetime]:
    """Return what would be fired in (after, until].

    An interval without startTime counts from when its job is created, so here from the first run that was `seen`.
    """
    if is_suspended:
        return []
    anchor = min(seen, default=after)
    if isinstance(schedule, FixedRate) and schedule.window.start is None:
        anchor -= schedule.period * (1 + (anchor - after) // schedule.period)
    return list(moments(schedule, after, until, anchor))


def compare(origin: str, ours: Sequence[datetime], theirs: Sequence[datetime], tolerance: timedelta) -> Compared:
    """Pair each of their moments with the first of ours that is no further away than `tolerance`."""
    left = sorted(ours)
    same, theirs_only = [], []
    for moment in sorted(theirs):
        match = next((our for our in left if abs(our - moment) <= tolerance), None)
        if match is None:
            theirs_only.append(moment)
        else:
            left.remove(match)
            same.append(match)
    return Compared(origin, tuple(same), tuple(left), tuple(theirs_only))


def table(found: Sequence[Compared]) -> list[str]:
    """Return the comparison as a table, a line a job and one for all; the first moments that differ beneath theirs."""
    rows = [HEADER] + [_row(job.origin, job) for job in found]
    rows.append(_row(f"all {len(found)}", *found))
    width = max(len(row[0]) for row in rows)
    shown = [f"{row[0]:<{width}}  {row[1]:>6}  {row[2]:>9}  {row[3]:>11}" for row in rows]
    lines = [shown[0]]
    for job, line in zip(found, shown[1:-1], strict=True):
        lines += [line, *_moments("ours only", job.ours_only), *_moments("theirs only", job.theirs_only)]
    return [*lines, shown[-1]]


def _row(name: str, *jobs: Compared) -> tuple[str, str, str, str]:
    counts = (sum(len(getattr(job, part)) for job in jobs) for part in ("same", "ours_only", "theirs_only"))
    same, ours, theirs = map(str, counts)
    return name, same, ours, theirs


def _moments(what: str, found: Sequence[datetime]) -> list[str]:
    if not found:
        return []
    text = ", ".join(f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in found[:MOST_SHOWN])
    return [f"  {what}: {text}" + (f" and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else "")]
