"""Text for people: what is hostile is made visible, moments and lengths of time are put in words. Pure.

`shown` takes every name, message and output that others wrote; templates escape its answer like any other text.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any

from scheduledjobs.core.status_of import instant

FOREVER_YEAR = 9999
DASH = "\u2013"
FAR = timedelta(days=60)

_ANSI = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links: all up to their end
    r"|\x1b[ -/]*[0-Z\\-~]"
)
_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def shown(text: object) -> str:
    """Return a text without terminal escapes, with a visible sign for each character that would hide or reorder."""
    plain = _ANSI.sub("", str(text)).replace("\r\n", "\n")
    return _ODD.sub(_sign, plain)


def _sign(match: re.Match[str]) -> str:
    return f"\u2039U+{ord(match.group()):04X}\u203a"


def one_line(text: object, longest: int = 200) -> str:
    """Return the first line of a text as `shown` has it, cut where it is long."""
    line = shown(text).strip().partition("\n")[0].strip()
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def ago(at: datetime, now: datetime) -> str:
    """Return how far a moment is from now: `in 3 min`, `12 s ago`; a date where that is more telling."""
    if at.year == FOREVER_YEAR:
        return "forever"
    distance = at - now
    if abs(distance) > FAR:
        return at.strftime("%Y-%m-%d")
    size = _size(abs(distance))
    if size == "0 s":
        return "now"
    return f"in {size}" if distance > timedelta(0) else f"{size} ago"


def _size(distance: timedelta) -> str:
    seconds = int(distance.total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length or (unit == "min" and seconds >= length):
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def span(milliseconds: float | None) -> str:
    """Return a length of time: `320 ms`, `4.2 s`, `3 min 20 s`, `1 h 5 min`; a dash for none."""
    if milliseconds is None:
        return DASH
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 59_950:
        return f"{milliseconds / 1000:.1f} s"
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def utc(at: datetime | None) -> str:
    """Return a moment in full: `2026-11-24 17:30:00 UTC`."""
    if at is None:
        return DASH
    return "forever" if at.year == FOREVER_YEAR else at.strftime("%Y-%m-%d %H:%M:%S UTC")


def number(value: float) -> str:
    """Return a number with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u202f")


def as_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON for people: templates escape it, so it keeps its own characters."""
    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)


STATE_CLASSES = {
    "PENDING": "s-pending",
    "RUNNING": "s-running",
    "SUCCEEDED": "s-succeeded",
    "FAILED": "s-failed",
    "TIMED_OUT": "s-failed",
    "LOST": "s-failed",
    "CANCELLED": "s-cancelled",
    "SKIPPED": "s-skipped",
    "MISSED": "s-missed",
}
"""The class that colours each state of an execution."""

FILTERS: dict[str, Any] = {
    "shown": shown,
    "one_line": one_line,
    "ago": ago,
    "span": span,
    "utc": utc,
    "iso": instant,
    "number": number,
    "json": as_json,
    "state_class": STATE_CLASSES.__getitem__,
}
