"""A schedule in words."""

from __future__ import annotations

from datetime import UTC
from functools import lru_cache

from cron_descriptor import FormatError, Options, get_description

from scheduledjobs.core.cron import MACROS
from scheduledjobs.core.cronfield import FIELDS, STAR, Field, has_star
from scheduledjobs.core.duration import format_duration
from scheduledjobs.core.schedule import Cron, FixedDelay, FixedRate, Schedule

DAYS, WEEKDAYS = 3, 5
"""Places of the fields that say which days, of six: where both restrict them, either matches."""

OR = ", or on "


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
    bare = f"At the moments of {expression}"
    options = Options()
    options.use_24hour_time_format = True
    text = MACROS.get(expression, expression)
    fields = [field.lower().split(",") for field in ["0", *text.split()][-len(FIELDS) :]]
    try:
        if any(_is_mixed(parts) for parts in fields):
            return bare
        if any(_has_step_misread(field, part) for field, parts in zip(FIELDS, fields, strict=True) for part in parts):
            return bare
        said = str(get_description(text, options))
    except (FormatError, ValueError, IndexError):
        return bare
    is_either = not has_star(fields[DAYS]) and not has_star(fields[WEEKDAYS])
    # "or" is said of a list of weekdays and of no other form of them; and no cron expression counts weeks
    return bare if (is_either and OR not in said) or " weeks" in said else said


def _is_mixed(parts: list[str]) -> bool:
    """Return whether a list holds what the describer takes for a number, or for what all of the list is."""
    return len(parts) > 1 and any(STAR.fullmatch(part) or "#" in part or part[:1] == "l" for part in parts)


def _has_step_misread(field: Field, part: str) -> bool:
    """Return whether "every n" would be said of a part, and is not so, since a step counts anew at the field's end.

    So it must divide the field where it counts from `*` (`0/n` and `1/n` are taken for `*/n`), and come twice at least
    where it counts from a number. A step of 1 from a number is taken for `*`, which it is not: it restricts a day.
    """
    begin, _, text = part.partition("/")
    if not text or part == "*/1":
        return False
    step = int(text)
    if begin in ("*", "0", "1"):
        return step == 1 or step >= field.size or field.size % step != 0
    ends = field.ends(begin if "-" in begin else f"{begin}-{field.low + field.size - 1}")
    return ends is None or step == 1 or step > (ends[1] - ends[0]) % field.size
