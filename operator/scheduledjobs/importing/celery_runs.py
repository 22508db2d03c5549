"""When Celery itself would send a task: its schedule's own answer, asked again and again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from scheduledjobs.importing.imported import CannotImport

MOST = 100_000


def celery_moments(schedule: Any, after: datetime, until: datetime, zone: tzinfo | None) -> list[datetime]:
    """Return the moments in (after, until] by `remaining_estimate` of a Celery schedule, whose clock is set to each.

    A crontab is told its `zone`, as beat does by binding it to an app; None for an interval, which has none.
    `CannotImport` for more than 100,000: a schedule that does not move on.
    """
    found: list[datetime] = []
    moment = after
    if zone is not None:
        schedule.tz = zone
    while len(found) < MOST:
        asked = moment.astimezone(zone or UTC)  # Celery of before 5.7 takes the zone of what it is given
        schedule.nowfun = lambda at=asked: at
        wait: timedelta = schedule.remaining_estimate(asked)
        moment += max(wait, timedelta(milliseconds=1))
        if moment > until:
            return found
        found.append(moment)
    raise CannotImport("has more than 100,000 moments")
