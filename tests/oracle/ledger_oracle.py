"""An oracle for the ledger: which moments were due, found by looking at every second, and which rows stand for them.

It shares nothing with the code under test: a schedule here is a predicate on seconds, written by hand for each of a
few schedules, and the segments are kept by the test as it goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

SECOND = timedelta(seconds=1)
BERLIN = ZoneInfo("Europe/Berlin")


def every(seconds: int) -> Callable[[datetime], bool]:
    """A cron of `*/n` seconds, n a divisor of 60."""
    return lambda at: at.second % seconds == 0


def at_minute(minutes: Iterable[int]) -> Callable[[datetime], bool]:
    """A cron of these minutes of every hour."""
    kept = frozenset(minutes)
    return lambda at: at.second == 0 and at.minute in kept


def berlin_hours(hours: Iterable[int]) -> Callable[[datetime], bool]:
    """A cron of these hours of the day in Berlin, on days without a change of the clocks."""
    kept = frozenset(hours)
    return lambda at: at.second == 0 and at.minute == 0 and at.astimezone(BERLIN).hour in kept


CRONS: dict[str, tuple[dict[str, Any], Callable[[datetime], bool]]] = {
    "every 10 s": ({"schedule": "*/10 * * * * *"}, every(10)),
    "every minute": ({"schedule": "* * * * *"}, at_minute(range(60))),
    "some minutes": ({"schedule": "5,20-30/5,59 * * * *"}, at_minute((5, 20, 25, 30, 59))),
    "Berlin": ({"schedule": "0 3,4,9-17 * * *", "timeZone": "Europe/Berlin"}, berlin_hours((3, 4, *range(9, 18)))),
}


@dataclass
class InForce:
    """One schedule from an instant on: a predicate, a grid's period from an anchor, or one moment."""

    since: datetime
    is_due: Callable[[datetime], bool] | None = None
    anchor: datetime | None = None
    period: timedelta | None = None
    run_at: datetime | None = None
    until: datetime | None = None

    def moments(self, until: datetime) -> list[datetime]:
        """Every moment of this stretch before `until`."""
        end = min(until, self.until) if self.until is not None else until
        if self.run_at is not None:
            return [self.run_at] if self.run_at < end else []
        if self.period is not None:
            assert self.anchor is not None
            found, k = [], 1
            while (moment := self.anchor + k * self.period) < end:
                found += [moment] if moment >= self.since else []
                k += 1
            return found
        second = self.since.replace(microsecond=0)
        second += SECOND if second < self.since else timedelta(0)
        found = []
        assert self.is_due is not None
        while second < end:
            found += [second] if self.is_due(second) else []
            second += SECOND
        return found


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
