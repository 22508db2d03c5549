"""An oracle for the ledger: which moments were due, found by looking at every second, what becomes of those decided
together, and which rows stand for them.

It shares nothing with the code under test: a schedule here is a predicate on seconds, a grid or a chain, written by
hand for each of a few schedules; the rules of misfire and change are written again from the design.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

TICK = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
FAR = timedelta(days=2)
"""How far the oracle looks for the next moment."""

BERLIN = ZoneInfo("Europe/Berlin")
Predicate = Callable[[datetime], bool]


def every(seconds: int) -> Predicate:
    """A cron of `*/n` seconds, n a divisor of 60."""
    return lambda at: at.second % seconds == 0


def at_minute(minutes: Iterable[int]) -> Predicate:
    """A cron of these minutes of every hour."""
    kept = frozenset(minutes)
    return lambda at: at.minute in kept


def berlin_hours(hours: Iterable[int]) -> Predicate:
    """A cron of these hours of the day in Berlin, none of which a change of the clocks skips or repeats."""
    kept = frozenset(hours)
    return lambda at: at.minute == 0 and at.astimezone(BERLIN).hour in kept


CRONS: dict[str, tuple[dict[str, Any], Predicate, timedelta]] = {
    "every 10 s": ({"schedule": "*/10 * * * * *"}, every(10), SECOND),
    "every minute": ({"schedule": "* * * * *"}, at_minute(range(60)), MINUTE),
    "some minutes": ({"schedule": "5,20-30/5,59 * * * *"}, at_minute((5, 20, 25, 30, 59)), MINUTE),
    "Berlin": (
        {"schedule": "0 3,4,9-17 * * *", "timeZone": "Europe/Berlin"},
        berlin_hours((3, 4, *range(9, 18))),
        MINUTE,
    ),
}
"""Specs, each with its predicate and the distance of the instants that it is asked about."""


@dataclass
class Stretch:
    """One schedule in force in [since, until): a predicate, a grid, one moment, or a chain of runs."""

    since: datetime
    until: datetime | None = None
    start: datetime | None = None
    end: datetime | None = None
    is_due: Predicate | None = None
    step: timedelta = SECOND
    period: timedelta | None = None
    anchor: datetime | None = None
    """Where a grid without a start begins: when its period was set."""

    run_at: datetime | None = None
    delay: timedelta | None = None
    planned: datetime | None = None
    """The next moment of a chain, while one is planned; `owed` are those that were planned before."""
    owed: list[datetime] = field(default_factory=list)

    def between(self, after: datetime, upto: datetime) -> list[datetime]:
        """Every moment in (after, upto] that belongs to this stretch."""
        if self.until is not None:
            upto = min(upto, self.until - TICK)
        return list(takewhile(lambda moment: moment <= upto, self.following(after)))

    def following(self, after: datetime) -> Iterator[datetime]:
        """The moments after `after`, rising, whatever comes after this stretch; not farther than two days ahead."""
        if self.run_at is not None:
            yield from [self.run_at] if self.run_at > after else []
        elif self.delay is not None:
            planned = [] if self.planned is None else [self.planned]
            yield from (moment for moment in (*self.owed, *planned) if moment > after)
        else:
            low = max(after + TICK, self.since, self.start or self.since)
            high = min(self.end or low + FAR, low + FAR)
            yield from takewhile(lambda moment: moment < high, self._from(low))

    def _from(self, low: datetime) -> Iterator[datetime]:
        if self.period is None:
            moment = low.replace(microsecond=0, second=0 if self.step == MINUTE else low.second)
            moment += self.step if moment < low else timedelta(0)
            while moment < low + FAR:
                assert self.is_due is not None
                if self.is_due(moment):
                    yield moment
                moment += self.step
            return
        moment = self.start or (self.anchor or self.since) + self.period
        moment += max(0, (low - moment) // self.period) * self.period
        while True:
            if moment >= low:
                yield moment
            moment += self.period

    def begin(self, at: datetime) -> None:
        """A chain counts from `at`: its first moment is its start, if that is ahead, or one delay after `at`."""
        assert self.delay is not None
        self.planned = self.start if self.start is not None and self.start > at else at + self.delay

    def plan(self, ended_at: datetime) -> None:
        """A chain goes on one delay after the end of a run."""
        assert self.delay is not None
        self.planned = max(ended_at + self.delay, self.start or ended_at)

    def settle(self, before: datetime) -> None:
        """What a chain has planned before `before` must be decided, the rest never is."""
        if self.planned is not None and self.planned < before:
            self.owed.append(self.planned)
        self.planned = None

    def close(self, until: datetime) -> None:
        """Another schedule is in force from `until` on, or none."""
        self.until = until
        self.settle(until)


@dataclass(frozen=True)
class Rules:
    """What a spec says of moments that are decided late."""

    misfire: str
    limit: int
    deadline: timedelta
    jitter: timedelta
    grace: timedelta = timedelta(seconds=60)


def outcomes(moments: Sequence[datetime], rules: Rules, at: datetime, change: str | None) -> dict[datetime, str | None]:
    """What becomes of moments of an active job that are decided together `at`: a reason to miss it, None for a run.

    `change` is why they are settled: Edited, Suspended, Deleted; None at a fire.
    """
    if change == "Deleted":
        return dict.fromkeys(moments, change)
    found: dict[datetime, str | None] = {}
    found |= dict.fromkeys((m for m in moments if at - m > rules.deadline), "StartingDeadlineExceeded")
    rest = [m for m in moments if m not in found]
    late = [m for m in rest if at - m > rules.grace]
    if change is not None:
        reasons: dict[datetime, str | None] = dict.fromkeys(late, change)
    elif rules.misfire == "Skip":
        reasons = dict.fromkeys(late, "TooLate")
    elif not late:
        reasons = {}
    elif rules.misfire == "FireAll":
        reasons = dict.fromkeys(rest[: -rules.limit], "OverLimit")
    else:
        reasons = dict.fromkeys(rest[:-1], "Coalesced")
    return found | {moment: reasons.get(moment) for moment in rest}


def is_sharp(moments: Sequence[datetime], rules: Rules, before: datetime, after: datetime) -> bool:
    """Whether `outcomes` is the same for every instant in [before, after], and for every delay by jitter."""
    limits = (timedelta(0), rules.grace, rules.deadline)
    return not any(before - rules.jitter - limit <= m <= after - limit for m in moments for limit in limits)


def standing(rows: Sequence[dict[str, Any]], due: Sequence[datetime]) -> dict[datetime, int]:
    """Return how many rows stand for each moment; a row for a moment that was not due counts under its own time."""
    counts = dict.fromkeys(due, 0)
    for row in rows:
        if row["moment_count"] is None:
            counts[row["fire_time"]] = counts.get(row["fire_time"], 0) + 1
            continue
        covered = [moment for moment in due if row["fire_time"] <= moment <= row["last_fire_time"]]
        assert len(covered) == row["moment_count"], (row, len(covered))
        assert row["fire_time"].astimezone(UTC).date() == row["last_fire_time"].astimezone(UTC).date(), row
        for moment in covered:
            counts[moment] += 1
    return counts
