"""When Celery itself would send a task: its schedule's own answer, asked again and again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from scheduledjobs.importing.imported import CannotImport

MOST = 100_000


def celery_moments(schedule: Any, after: datetime, until: datetime) -> list[datetime]:
    """Return the moments in (after, until] by `remaining_estimate` of a Celery schedule, whose clock is set to each.

    `CannotImport` for more than 100,000: a schedule that does not move on.
    """
    found: list[datetime] = []
    moment = after
    while len(found) < MOST:
        schedule.nowfun = lambda at=moment: at
        wait: timedelta = schedule.remaining_estimate(moment)
        moment += max(wait, timedelta(milliseconds=1))
        if moment > until:
            return found
        found.append(moment)
    raise CannotImport("has more than 100,000 moments")
