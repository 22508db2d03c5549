"""A beat_schedule as a user's module has it; its schedules have what Celery's have, which need not be installed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo


@dataclass
class crontab:  # noqa: N801 as Celery writes it
    """What a celery.schedules.crontab has: sets of numbers, the current app's zone, and when it is next due."""

    minute: set[int]
    hour: set[int]
    day_of_month: set[int]
    month_of_year: set[int]
    day_of_week: set[int]
    nowfun: Any = None

    @cached_property
    def tz(self) -> tzinfo:
        """Return the zone of the current app, which is UTC where none is bound; beat binds its own."""
        return UTC

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return how long from now on."""
        at = last_run_at.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        while not self._matches(at.astimezone(self.tz)):
            at += timedelta(minutes=1)
        left: timedelta = at - self.nowfun()
        return left

    def _matches(self, at: datetime) -> bool:
        is_time = at.minute in self.minute and at.hour in self.hour
        is_date = at.day in self.day_of_month and at.month in self.month_of_year
        return is_time and is_date and at.isoweekday() % 7 in self.day_of_week


class TzAwareCrontab(crontab):
    """What a django_celery_beat.tzcrontab.TzAwareCrontab has: a zone of its own."""

    def __init__(self, *fields: set[int], tz: str) -> None:
        super().__init__(*fields)
        self.tz = ZoneInfo(tz)


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
        "schedule": TzAwareCrontab({30}, {7}, DAYS, MONTHS, {1, 2, 3, 4, 5}, tz="Europe/Berlin"),
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
config = {"timezone": "Asia/Tokyo", "beat_schedule": beat_schedule}


@dataclass
class app:  # noqa: N801 as Celery writes it
    """What a celery.Celery has."""

    conf: Any


utc, local = (
    app(SimpleNamespace(beat_schedule=beat_schedule, timezone=None, enable_utc=is_utc)) for is_utc in (True, False)
)
