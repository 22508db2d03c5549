"""JSON that is nested too deep: found, and cut, before a reader meets it that recurses.

The API server takes ten thousand levels. Python's own reader raises RecursionError at a thousand, orjson refuses a
little more, PostgreSQL gives up at some thousands; and one such object in a list takes the whole list with it. So
nothing is read deeper than any reader bears, and what was cut is told from what may be stored by its depth.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

DEEPEST_READ = 100
"""Levels of an answer of the API server that are read: a list's items lie at three, a payload at five."""

TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]')
NESTS = (dict, list)


def is_deeper(value: object, levels: int) -> bool:
    """Return whether objects and arrays lie in each other in more than so many levels."""
    layer = [value] if isinstance(value, NESTS) else []
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, NESTS)
        ]
        if not layer:
            return False
    return bool(layer)


def cut(value: Any, levels: int) -> Any:
    """Return the value with None in place of whatever lies deeper than so many levels."""
    if not isinstance(value, NESTS):
        return value
    if levels == 0:
        return None
    if isinstance(value, dict):
        return {key: cut(inner, levels - 1) for key, inner in value.items()}
    return [cut(inner, levels - 1) for inner in value]


def cut_json(data: bytes, levels: int) -> bytes:
    """Return JSON with null in place of whatever lies deeper than so many levels, without reading it."""
    kept, level, begin = [], 0, 0
    for token in TOKEN.finditer(data):
        sign = token.group()
        if sign in (b"{", b"["):
            level += 1
            if level == levels + 1:
                kept += [data[begin : token.start()], b"null"]
        elif sign in (b"}", b"]"):
            if level == levels + 1:
                begin = token.end()
            level -= 1
    kept.append(data[begin:] if level <= levels else b"")
    return b"".join(kept)


def read_json(data: bytes) -> Any:
    """Read JSON, however deep it is; `orjson.JSONDecodeError` if it is none."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return orjson.loads(cut_json(data, DEEPEST_READ))


def read_shallow(data: bytes) -> Any:
    """Read JSON for somebody who recurses: nothing of it lies deeper than may be read."""
    value = read_json(data)
    return cut(value, DEEPEST_READ) if is_deeper(value, DEEPEST_READ) else value
