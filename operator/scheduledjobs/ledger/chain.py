"""The moments of a fixedDelay: each follows from the end of the run before it, or is the first one of its segment.

So they cannot be recomputed from versions alone, as those of the other kinds are (core/expected.py). What is owed:

1. what the versions of a segment were recorded with as the next moment: its first, unless that waited for a run;
2. after a row, nothing but the delay after its end, or after that of a run that went on through the change before; a
   job's next moment follows its newest row in the same way;
3. the newest moment that the job says was decided;
4. while the job is active: a next moment, unless a run has not ended. The release of one may be in flight.

A job that was edited, suspended or deleted before its next moment was released owes none: that is no gap.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from scheduledjobs.core.expected import Segment
from scheduledjobs.core.reasons import LIVE_STATES, JobState
from scheduledjobs.core.schedule import FixedDelay, first_fire, following_fire
from scheduledjobs.ledger.read import History
from scheduledjobs.store.queries import Row

IN_FLIGHT = timedelta(seconds=10)
"""A release that is not older is not decided yet; it comes within a second where a leader is."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A moment that is not as it should be; `kind` is lost, doubled or not due."""

    kind: str
    moment: datetime
    detail: str


@dataclass(slots=True)
class Chain:
    """One job's history and its rows, in order of their moments, one before `since` among them."""

    job: Row
    history: History
    rows: Sequence[Row]
    since: datetime
    now: datetime
    undecided: int = 0
    gaps: list[Gap] = field(default_factory=list)
    _reported: set[datetime] = field(default_factory=set)

    def check(self) -> None:
        """Find the gaps, and count what is due and not decided yet."""
        delays = [segment for segment in self.history.segments if isinstance(segment.schedule, FixedDelay)]
        for segment in delays:
            self._check_planned(segment)
            self._check_rows(segment)
        if delays and delays[-1].until is None:
            self._check_next(delays[-1])
        self._check_newest(delays)

    def _check_planned(self, segment: Segment) -> None:
        for moment in sorted(self.history.planned[segment.since]):
            is_next = self.job["next_fire_at"] == moment and segment.until is None
            if segment.holds(moment) and not is_next and not self._has_row(moment):
                self._lost(moment, "no row stands for it")

    def _check_rows(self, segment: Segment) -> None:
        begin = bisect_left(self.rows, max(segment.since, self.since), key=_fire_time)
        end = len(self.rows) if segment.until is None else bisect_left(self.rows, segment.until, key=_fire_time)
        for number in range(begin, end):
            row, previous = self.rows[number], self.rows[number - 1] if number else None
            if previous is not None and row["fire_time"] <= newest(previous):
                self._add("doubled", row["fire_time"], f"rows {previous['id']}, {row['id']} stand for it")
            else:
                self._check_link(segment, previous, row["fire_time"], f"row {row['id']}")

    def _check_link(self, segment: Segment, previous: Row | None, moment: datetime, who: str) -> None:
        """Look whether a moment is the first of its segment, or follows the row before it."""
        first = _first(segment)
        is_unknown = previous is None or not segment.holds(newest(previous))
        if moment == first or previous is None or (is_unknown and first in self.history.planned[segment.since]):
            return  # or the row before it is not kept; or the first moment, which is another one, has been looked for
        after = self._after(segment, previous)
        if moment == after:
            return
        detail = f"{who} at {moment.isoformat()} does not follow from row {previous['id']}"
        if after is not None and after < moment:
            self._lost(after, detail)
        else:
            self._add("not due", moment, detail)

    def _check_next(self, segment: Segment) -> None:
        """The job's next moment follows its newest row; while the job is active, there is one or a run is live."""
        following, last = self.job["next_fire_at"], self.rows[-1] if self.rows else None
        if following is not None:
            self._check_link(segment, last, following, "the next moment")
            self.undecided += self.since <= following <= self.now
        elif self.job["state"] == JobState.ACTIVE and not any(is_live(row) for row in self.rows):
            expected = _first(segment) if last is None else self._after(segment, last)
            if expected is not None and expected <= self.now and _first(segment) not in self._reported:
                self._add_unreleased(expected)

    def _add_unreleased(self, moment: datetime) -> None:
        """Nothing is live, so whatever ended last, the newest row or one before it, the release followed that."""
        ends = [row["finished_at"] for row in self.rows if row["finished_at"] is not None]
        if max(moment, self.job["updated_at"], *ends) > self.now - IN_FLIGHT:
            self.undecided += 1
        else:
            self._add("lost", moment, "it was never released: the job waits for no run, and has no next moment")

    def _check_newest(self, delays: Sequence[Segment]) -> None:
        moment: datetime | None = self.job["last_fire_time"]
        if moment is None or self._has_row(moment) or moment in self._reported:
            return
        if any(segment.holds(moment) for segment in delays):
            self._lost(moment, "it was decided, and no row stands for it")

    def _lost(self, moment: datetime, detail: str) -> None:
        """Add a lost moment, unless it lies before the range: its row need not be kept."""
        if moment >= self.since and moment not in self._reported:
            self._add("lost", moment, detail)

    def _add(self, kind: str, moment: datetime, detail: str) -> None:
        self.gaps.append(Gap(kind, moment, detail))
        self._reported.add(moment)

    def _after(self, segment: Segment, previous: Row) -> datetime | None:
        """The moment that follows a row: a delay after its end, or after the end of a run that went on through the
        change with which the segment began."""
        if previous["finished_at"] is None or is_live(previous):
            return None
        ends = [previous["finished_at"]]
        if previous["fire_time"] < segment.since:
            until = bisect_left(self.rows, segment.since, key=_fire_time)
            ends += [row["finished_at"] for row in self.rows[:until] if row["finished_at"] is not None]
        assert segment.schedule is not None  # noqa: S101 the caller looked
        return following_fire(segment.schedule, max(ends), newest(previous), segment.since)

    def _has_row(self, moment: datetime) -> bool:
        position = bisect_right(self.rows, moment, key=_fire_time)
        return position > 0 and moment <= newest(self.rows[position - 1])


def _fire_time(row: Row) -> datetime:
    found: datetime = row["fire_time"]
    return found


def newest(row: Row) -> datetime:
    """Return the last moment that a row stands for."""
    found: datetime = row["last_fire_time"] or row["fire_time"]
    return found


def is_live(row: Row) -> bool:
    """Return whether a row's run has not ended."""
    return row["state"] in LIVE_STATES or bool(row["abandoned"])


def _first(segment: Segment) -> datetime | None:
    assert segment.schedule is not None  # noqa: S101 the caller looked
    return first_fire(segment.schedule, segment.since, segment.anchor)
