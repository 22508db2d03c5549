"""The pause overlay: annotations that suspend a job until a moment, on top of what its manifest says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from scheduledjobs.core.reasons import Reason
from scheduledjobs.core.resource import PAUSE_REASON, PAUSED_BY, PAUSED_UNTIL

FOREVER = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
"""How `forever` is kept in SQL: a real time, which every client can read."""

LONGEST = 256


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause as it is asked for: until when, by whom, why. `reason` is Suspended, or InvalidPause if unreadable."""

    until: datetime
    by: str | None
    why: str | None
    reason: Reason
    message: str


def read_pause(annotations: Mapping[str, str]) -> Pause | None:
    """Return the pause that these annotations ask for, or None. One that cannot be read pauses until it can."""
    text = annotations.get(PAUSED_UNTIL)
    if text is None:
        return None
    by, why = (annotations.get(key, "").replace("\0", "")[:LONGEST] or None for key in (PAUSED_BY, PAUSE_REASON))
    until = parse_until(text)
    if until is None:
        message = f"{PAUSED_UNTIL}: {text[:64]!r} is neither RFC 3339 with an offset nor forever: paused until it is"
        return Pause(FOREVER, by, why, Reason.INVALID_PAUSE, message)
    shown = "forever" if until == FOREVER else f"until {until:%Y-%m-%dT%H:%M:%SZ}"
    message = f"paused {shown}" + (f" by {by}" if by else "") + (f": {why}" if why else "")
    return Pause(until, by, why, Reason.SUSPENDED, message)


def parse_until(text: str) -> datetime | None:
    """Return the end of a pause, aware UTC to the millisecond, or None where it cannot be read."""
    if text == "forever":
        return FOREVER
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
        if moment.tzinfo is None:
            return None
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return min(moment.replace(microsecond=moment.microsecond // 1000 * 1000), FOREVER)
