"""Cursors: a position in a list, opaque to the caller, checked when it comes back."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from scheduledjobs.web.problems import ProblemError

BIGGEST_ID = 2**63 - 1


def encode(*parts: object) -> str:
    """Return the cursor of a position."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


def decode_job(cursor: str | None) -> tuple[str, str, UUID]:
    """Return the namespace, name and id after which a page begins; ProblemError 400 where it is none of ours."""
    if cursor is None:
        return "", "", UUID(int=0)
    try:
        namespace, name, number = _parts(cursor)
        return _text(namespace), _text(name), UUID(number)
    except (ValueError, TypeError, AttributeError):
        raise _bad() from None


def decode_execution(cursor: str | None) -> tuple[datetime, int] | None:
    """Return the fire time and id before which a page begins, or None; ProblemError 400 where it is none of ours."""
    if cursor is None:
        return None
    try:
        moment, number = _parts(cursor)
        at = datetime.fromisoformat(moment)
        if at.tzinfo is None or type(number) is not int or not 0 <= number <= BIGGEST_ID:
            raise _bad()
    except (ValueError, TypeError, AttributeError):
        raise _bad() from None
    return at, number


def decode_version(cursor: str | None) -> int:
    """Return the place before which a page of versions begins; ProblemError 400 where it is none of ours."""
    if cursor is None:
        return BIGGEST_ID
    try:
        (place,) = _parts(cursor)
        if type(place) is not int or not 0 <= place <= BIGGEST_ID:
            raise _bad()
    except (ValueError, TypeError):
        raise _bad() from None
    return place


def _parts(cursor: str) -> list[Any]:
    try:
        found = orjson.loads(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
    except (binascii.Error, UnicodeEncodeError, orjson.JSONDecodeError):
        raise ValueError(cursor) from None
    if not isinstance(found, list):
        raise TypeError(cursor)
    return found


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(value)
    return value


def _bad() -> ProblemError:
    return ProblemError(400, "Bad cursor", "cursor: is not one that this server gave: begin without one", "BadCursor")
