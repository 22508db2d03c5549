"""Version rows as a history: which schedule was in force when, and which moments were planned under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from scheduledjobs.core.expected import Segment, segments
from scheduledjobs.core.job import read_schedule
from scheduledjobs.core.reasons import JobState
from scheduledjobs.core.schedule import OneShot, Schedule
from scheduledjobs.core.spec import parse_spec
from scheduledjobs.errors import SpecError
from scheduledjobs.store.queries import Row


@dataclass(frozen=True, slots=True)
class History:
    """A job's segments, and by the beginning of each the moments that its versions were recorded with as the next."""

    segments: Sequence[Segment]
    planned: Mapping[datetime, frozenset[datetime]]


def read_history(versions: Sequence[Row]) -> History:
    """Return the history of a job's version rows, as store.ledger.verify_versions reads them."""
    schedules = _without_fired_elsewhere(versions, [_schedule(version) for version in versions])
    known = zip(versions, schedules, strict=True)
    found = segments([(v["version"], s, v["anchor_at"], v["effective_from"], v["recorded_at"]) for v, s in known])
    return History(found, _planned(versions, schedules))


def _without_fired_elsewhere(versions: Sequence[Row], schedules: Sequence[Schedule | None]) -> list[Schedule | None]:
    """Leave out a one-shot that its status said had fired, when the job was first seen or came back.

    That is a version which begins a job without its moment ahead: a one-shot that has fired here has lost it since. Nor
    is an earlier one due in a later version.
    """
    found: list[Schedule | None] = []
    fired_at: datetime | None = None
    begins = True
    for version, schedule in zip(versions, schedules, strict=True):
        if isinstance(schedule, OneShot) and begins and version["next_fire_at"] is None:
            fired_at = max(fired_at or schedule.run_at, schedule.run_at)
        is_over = isinstance(schedule, OneShot) and fired_at is not None and schedule.run_at <= fired_at
        found.append(None if is_over else schedule)
        begins = version["state"] == JobState.DELETED
    return found


def _planned(versions: Sequence[Row], schedules: Sequence[Schedule | None]) -> dict[datetime, frozenset[datetime]]:
    """What was planned under another schedule at the same instant has been dropped."""
    found: dict[datetime, frozenset[datetime]] = {}
    before: tuple[datetime, Schedule | None] | None = None
    for version, schedule in zip(versions, schedules, strict=True):
        since, following = version["effective_from"], version["next_fire_at"]
        kept = found[since] if before == (since, schedule) else frozenset()
        found[since] = kept | {following} if following is not None else kept
        before = since, schedule
    return found


def _schedule(version: Row) -> Schedule | None:
    if version["state"] == JobState.DELETED:
        return None
    try:
        return read_schedule(parse_spec(version["spec"]))
    except SpecError:
        return None  # a schedule that cannot be read has no moments
