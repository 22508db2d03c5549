"""Durations as people write them in a manifest: `90s`, `1h30m`, `500ms`; Go's form with whole numbers."""

from __future__ import annotations

import re
from datetime import timedelta

PART = re.compile(r"([0-9]{1,5})(h|ms|m|s)")
WHOLE = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


def parse_duration(text: str) -> timedelta:
    """Return the duration that `text` names; `ValueError` with a sentence where it names none."""
    if not WHOLE.fullmatch(text):
        raise ValueError("must be a duration such as 30s, 5m or 1h30m (units h, m, s, ms)")
    return timedelta(milliseconds=sum(int(number) * MILLISECONDS[unit] for number, unit in PART.findall(text)))


def format_duration(duration: timedelta) -> str:
    """Return the shortest text that `parse_duration` reads back, to the millisecond; `0s` for nothing."""
    rest = round(duration / timedelta(milliseconds=1))
    parts = []
    for unit in ("h", "m", "s", "ms"):
        number, rest = divmod(rest, MILLISECONDS[unit])
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"
