"""Version rows as segments: which schedule was in force when."""

from __future__ import annotations

from collections.abc import Sequence

from scheduledjobs.core.expected import Segment, segments
from scheduledjobs.core.job import read_schedule
from scheduledjobs.core.reasons import JobState
from scheduledjobs.core.schedule import Schedule
from scheduledjobs.core.spec import parse_spec
from scheduledjobs.errors import SpecError
from scheduledjobs.store.queries import Row


def read_segments(versions: Sequence[Row]) -> list[Segment]:
    """Return the segments of a job's version rows, as store.ledger.verify_versions reads them."""
    return segments([(v["version"], _schedule(v), v["anchor_at"], v["effective_from"]) for v in versions])


def _schedule(version: Row) -> Schedule | None:
    if version["state"] == JobState.DELETED:
        return None
    try:
        return read_schedule(parse_spec(version["spec"]))
    except SpecError:
        return None  # a schedule that cannot be read has no moments
