"""What an error of job code says, asked with care: job code wrote what is asked."""

from __future__ import annotations

import traceback

LONGEST_TRACEBACK = 16 * 1024


def format_trace(error: BaseException) -> str:
    """Return the end of an error's traceback, of 20 frames and 16 KiB at most."""
    try:
        return "".join(traceback.format_exception(error, limit=-20))[-LONGEST_TRACEBACK:]
    except BaseException:  # noqa: BLE001 job code wrote what is asked of the error
        return describe(error)


def describe(error: BaseException) -> str:
    """Return an error as one line for people: its type and the first line of what it says."""
    try:
        text = str(error).strip()
    except BaseException:  # noqa: BLE001 job code wrote __str__
        text = "it cannot be printed"
    first = text.splitlines()[0] if text else ""
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
