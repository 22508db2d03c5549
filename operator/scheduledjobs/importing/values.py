"""Values of other schedulers as JSON and whole numbers: in a file or a module there may be anything."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from scheduledjobs.core.spec import MOST_PAYLOAD_LEVELS
from scheduledjobs.importing.imported import CannotImport

INTEGERS = (-(2**63), 2**64 - 1)
"""The least and the greatest integer that a payload is written with."""


def json_value(value: Any, where: str, levels: int = MOST_PAYLOAD_LEVELS) -> Any:
    """Return a value as JSON has it; `CannotImport`, which names the place, for one that has no form of its own there.

    A time or a Decimal could be written as text, but then a task would get a text where it got a time.
    """
    if levels == 0:
        raise CannotImport(f"{where} is nested in more than {MOST_PAYLOAD_LEVELS} levels")
    if isinstance(value, Mapping):
        return {_key(key, where): json_value(inner, f"{where}.{key}", levels - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(inner, f"{where}.{place}", levels - 1) for place, inner in enumerate(value)]
    return _plain(value, where)


def whole_number(value: Any, where: str) -> int:
    """Return a value as an integer; `CannotImport`, which names the place, for one that is none."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise CannotImport(f"{where} {value!r} is no whole number") from None


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise CannotImport(f"{where} has the key {key!r}, which is no text")
    return str.__str__(key)


def _plain(value: object, where: str) -> object:
    """Return a text or a number of a type of its own, such as an enum's, as that text or number."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        if not INTEGERS[0] <= value <= INTEGERS[1]:
            raise CannotImport(f"{where} is an integer of more than 64 bits")
        return int(value)
    if isinstance(value, float):
        if not isfinite(value):
            raise CannotImport(f"{where} is {value}, which JSON cannot say")
        return float(value)
    raise CannotImport(f"{where} is a {type(value).__name__}, which JSON cannot say")
