"""A beat_schedule as a user's module has it; its schedules have what Celery's have, which need not be installed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any


@dataclass
class crontab:  # noqa: N801 as Celery writes it
    """What a celery.schedules.crontab has: sets of numbers."""

    minute: set[int]
    hour: set[int]
    day_of_month: set[int]
    month_of_year: set[int]
    day_of_week: set[int]
    tz: str | None = None


@dataclass
class every:  # noqa: N801 as Celery writes it
    """What a celery.schedules.schedule has: an interval, and its own answer to when it is next due."""

    run_every: timedelta
    nowfun: Any = None

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return how long from now on."""
        left: timedelta = last_run_at + self.run_every - self.nowfun()
        return left


@dataclass
class solar:  # noqa: N801 as Celery writes it
    """What a celery.schedules.solar has."""

    event: str
    lat: float
    lon: float


MINUTES, HOURS, DAYS, MONTHS, WEEK = (set(range(*size)) for size in ((60,), (24,), (1, 32), (1, 13), (7,)))
beat_schedule = {
    "quarter": {"task": "reports.tasks.refresh", "schedule": crontab({0, 15, 30, 45}, HOURS, DAYS, MONTHS, WEEK)},
    "workdays": {
        "task": "reports.tasks.Send_Daily",
        "schedule": crontab({30}, {7}, DAYS, MONTHS, {1, 2, 3, 4, 5}, "Europe/Berlin"),
        "args": (1, "two"),
        "kwargs": {"full": True},
        "options": {"queue": "slow", "expires": 600, "priority": 3},
    },
    "first-monday": {"task": "a", "schedule": crontab({0}, {9}, set(range(1, 8)), MONTHS, {1})},
    "both-days": {"task": "a", "schedule": crontab({0}, {9}, {13}, MONTHS, {5})},
    "half-minute": {"task": "b", "schedule": 30.0},
    "five-minutes": {"task": "b", "schedule": timedelta(minutes=5)},
    "object": {"task": "b", "schedule": every(timedelta(minutes=10))},
    "too-often": {"task": "b", "schedule": 0.5},
    "dusk": {"task": "c", "schedule": solar("dusk_civil", 52.5, 13.4)},
    "cleanup": {"task": "celery.backend_cleanup", "schedule": 3600},
}
