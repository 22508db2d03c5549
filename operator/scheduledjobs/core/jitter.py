"""Jitter: a delay that spreads moments, the same for a job and a moment every time it is asked for.

It is smaller than the distance to the next moment, so moments stay in order; `fire_time` stays the nominal moment.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from uuid import UUID

from scheduledjobs.core.schedule import FixedDelay, OneShot, Schedule, next_fire

MILLISECOND = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
