"""Jitter: a delay that spreads moments, the same for a job and a moment every time it is asked for.

It is smaller than the distance to the next moment, so moments stay in order; `fire_time` stays the nominal moment.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import pairwise
from uuid import UUID

from scheduledjobs.core.duration import format_duration
from scheduledjobs.core.reasons import Reason
from scheduledjobs.core.schedule import Cron, FixedDelay, OneShot, Schedule, Window, next_fire
from scheduledjobs.errors import SpecError

MILLISECOND = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LOOKED_AT = 400
"""Moments of a cron that are looked at for a distance as long as its jitter: enough for a day of every five minutes."""


def check_jitter(schedule: Schedule, jitter: timedelta) -> None:
    """Raise `SpecError` if no two moments of a cron are as far apart as `jitter` is long.

    Where only some are nearer, the jitter of those is cut (see `due_at`). The CRD checks the other kinds.
    """
    if not jitter or not isinstance(schedule, Cron):
        return
    always, moments = replace(schedule, window=Window()), [EPOCH]
    while len(moments) < LOOKED_AT and (following := next_fire(always, moments[-1])) is not None:
        moments.append(following)
        if len(moments) > 2 and following - moments[-2] >= jitter:
            return
    if len(moments) > 2:
        longest = max(later - earlier for earlier, later in pairwise(moments[1:]))
        message = f"must not be longer than {format_duration(longest)}, the time between the moments of the schedule"
        raise SpecError(Reason.INVALID_SPEC, f"spec.jitter: {message}")


def due_at(
    job_id: UUID, schedule: Schedule, jitter: timedelta, fire_time: datetime, anchor: datetime | None
) -> datetime:
    """Return when a moment may fire: `fire_time` and less than `jitter` more, to the millisecond."""
    if not jitter:
        return fire_time
    most = jitter
    if not isinstance(schedule, OneShot | FixedDelay):
        following = next_fire(schedule, fire_time, anchor)
        most = min(jitter, following - fire_time) if following is not None else jitter
    return fire_time + int(_fraction(job_id, fire_time) * (most // MILLISECOND)) * MILLISECOND


def _fraction(job_id: UUID, fire_time: datetime) -> float:
    """Return a number in [0, 1) that looks random and is not."""
    milliseconds = (fire_time - EPOCH) // MILLISECOND
    digest = blake2b(job_id.bytes + milliseconds.to_bytes(8, signed=True), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48
