"""What an error says, for people, whatever job code made of it; and the wait that it asks for."""

from __future__ import annotations

import traceback
from datetime import timedelta

from scheduledjobs.core.hidden import Hidden
from scheduledjobs.errors import LONGEST_DELAY, Retry

LONGEST_TRACEBACK = 16 * 1024


def trace_of(error: BaseException, hidden: Hidden) -> str:
    """Return the traceback of an error, at most its last 16 KiB, without what the attempt must not say."""
    try:
        text = "".join(traceback.format_exception(error, limit=-20))
    except BaseException:  # noqa: BLE001 job code wrote what is asked of the error
        return describe(error)
    return hidden.mask(text)[-LONGEST_TRACEBACK:]


def describe(error: BaseException) -> str:
    """Return an error as one line for people: its type and the first line of what it says."""
    try:
        text = str(error).strip()
    except BaseException:  # noqa: BLE001 job code wrote __str__
        text = "it cannot be printed"
    first = text.splitlines()[0] if text else ""
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def delay_of(error: Retry) -> timedelta | None:
    """Return the wait that an error asks for; None where a class of its own has left it out, or holds no such wait."""
    delay = getattr(error, "delay", None)
    return delay if isinstance(delay, timedelta) and timedelta(0) <= delay <= LONGEST_DELAY else None
