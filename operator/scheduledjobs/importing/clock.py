"""What another scheduler does when the clocks change, where our rule does something else, with the dates."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum

from scheduledjobs.core.cron import parse_cron
from scheduledjobs.core.schedule import Cron
from scheduledjobs.core.walk import instant, pieces, swallowed
from scheduledjobs.core.zone import Segment, load_zone, segments
from scheduledjobs.importing.imported import Difference, Note

LOOK = timedelta(days=400)


class Clocks(Enum):
    """How a scheduler treats a fixed local time: in a gap, and in an overlap; empty where it does as we do."""

    ROBFIG = ("the CronJob skips it", "the CronJob runs twice")
    VIXIE = ("pg_cron skips it", "pg_cron runs twice")
    CELERY = ("Celery beat runs it as much later as the clocks go forward", "")


def clock_notes(schedule: Cron, clocks: Clocks, now: datetime) -> list[Note]:
    """Return a note for the first gap and the first overlap within 400 days that a moment of the schedule lies in."""
    fields, zone = parse_cron(schedule.text), load_zone(schedule.zone)
    if not fields.is_fixed:
        return []  # follows real time: both do the same
    start = int(now.timestamp())
    found: dict[str, Note] = {}
    for segment in segments(zone, start, start + int(LOOK.total_seconds())):
        if segment.start <= start or segment.offset == segment.before:
            continue
        if segment.offset > segment.before:
            if lost := swallowed(fields, zone, segment.start):
                found.setdefault("gap", _gap(schedule.zone, lost[0], _local(segment.start, segment.offset), clocks))
        elif clocks.value[1] and (doubled := _doubled(schedule, segment)):
            found.setdefault("overlap", _overlap(schedule.zone, doubled, clocks))
    return list(found.values())


def _doubled(schedule: Cron, segment: Segment) -> datetime | None:
    """Return the first local time of a moment that the overlap before `segment` has twice."""
    first = segment.start - (segment.before - segment.offset)
    for piece in pieces(parse_cron(schedule.text), load_zone(schedule.zone), first, segment.start):
        return _local(piece.first, segment.before)
    return None


def _local(at: int, offset: int) -> datetime:
    return instant(at + offset).replace(tzinfo=None)


def _gap(zone: str, lost: datetime, following: datetime, clocks: Clocks) -> Note:
    text = (
        f"{lost:%Y-%m-%d %H:%M} does not exist in {zone}: {clocks.value[0]}, the ScheduledJob runs at {following:%H:%M}"
    )
    return Note(Difference.DAYLIGHT_SAVING, text)


def _overlap(zone: str, doubled: datetime, clocks: Clocks) -> Note:
    text = f"{doubled:%Y-%m-%d %H:%M} comes twice in {zone}: {clocks.value[1]}, the ScheduledJob once"
    return Note(Difference.DAYLIGHT_SAVING, text)
