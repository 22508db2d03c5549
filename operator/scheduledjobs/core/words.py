"""A schedule in words."""

from __future__ import annotations

from datetime import UTC
from functools import lru_cache

from cron_descriptor import FormatError, Options, get_description

from scheduledjobs.core.cron import MACROS
from scheduledjobs.core.duration import format_duration
from scheduledjobs.core.schedule import Cron, FixedDelay, FixedRate, Schedule


def words(schedule: Schedule) -> str:
    """Return what a schedule means, as a phrase that begins with a capital letter."""
    if isinstance(schedule, Cron):
        return _cron_words(schedule.text)
    if isinstance(schedule, FixedRate):
        return f"Every {format_duration(schedule.period)}"
    if isinstance(schedule, FixedDelay):
        return f"{format_duration(schedule.delay)} after the end of each run"
    return f"Once, on {schedule.run_at.astimezone(UTC):%Y-%m-%d at %H:%M:%S} UTC"


@lru_cache(4096)  # the describer reads its translations anew from the disk each time
def _cron_words(expression: str) -> str:
    if any(map(_is_mixed, expression.split())):
        return f"At the moments of {expression}"
    options = Options()
    options.use_24hour_time_format = True
    try:
        return str(get_description(MACROS.get(expression, expression), options))
    except (FormatError, ValueError, IndexError):
        return f"At the moments of {expression}"


def _is_mixed(field: str) -> bool:
    """Return whether a list holds what the describer takes for a number, or for what all of the list is."""
    parts = field.lower().split(",")
    return len(parts) > 1 and any(part in ("*", "*/1") or "#" in part or part[:1] == "l" for part in parts)
