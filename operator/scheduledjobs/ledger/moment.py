"""A moment as it was asked for: an instant, or a local time of the job's zone, which its clocks may skip or repeat."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from scheduledjobs.core.zone import load_zone
from scheduledjobs.errors import SpecError


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant, aware UTC; `note` says what a local time means that does not exist or comes twice in the zone."""

    at: datetime
    note: str | None = None


def resolve(at: datetime, zone_name: str) -> Moment:
    """Return the instant that a time means: a local one in a gap of the zone's clocks means the gap's end, one that
    comes twice means its first pass. The year must be one that `is_askable` takes."""
    if at.tzinfo is not None:
        return Moment(at.astimezone(UTC))
    try:
        zone = load_zone(zone_name)
    except SpecError:
        return Moment(at.replace(tzinfo=UTC))
    first, second = (at.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == second:
        return Moment(first)
    if first < second:
        text = f"comes twice in {zone_name}: this is the first time; the second is {show(second)}"
        return Moment(first, f"{at.isoformat()} {text}")
    end = _first_after_gap(second, first, zone)
    text = f"does not exist in {zone_name}: the clocks go forward, past it, to {end.astimezone(zone):%H:%M:%S}"
    return Moment(end, f"{at.isoformat()} {text}")


def _first_after_gap(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """Bisect for the first whole second after the zone's offset has changed."""
    offset = low.astimezone(zone).utcoffset()
    first, last = int(low.timestamp()), int(high.timestamp())
    while first < last:
        middle = (first + last) // 2
        if datetime.fromtimestamp(middle, UTC).astimezone(zone).utcoffset() == offset:
            first = middle + 1
        else:
            last = middle
    return datetime.fromtimestamp(first, UTC)


def show(moment: datetime | None) -> str:
    """Return an instant as RFC 3339 in UTC, with milliseconds if it has any."""
    if moment is None:
        return "?"
    spec = "milliseconds" if moment.microsecond else "seconds"
    return moment.astimezone(UTC).isoformat(timespec=spec).replace("+00:00", "Z")
