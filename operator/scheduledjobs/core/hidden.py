"""What must not be said: the values of the credentials that an attempt has read, and what a webhook's URL holds.

They are replaced by `***` in all that is left of an attempt or said of a message. Exact values only, in the forms in
which servers and errors give them back. It is a second line of defence: the first is that a value is sent to the hosts
that it is for, and to no other. An attempt that has read none pays nothing.
"""

from __future__ import annotations

import html
import json
from typing import Any
from urllib.parse import quote, quote_plus

import orjson

MASK = "***"
SHORTEST = 8
"""Shorter values stay: they stand in many a text by chance, and `***` there would tell that they do."""


class Hidden:
    """Values that must not be in what is said of an attempt or message; added, from any thread, before their use."""

    def __init__(self) -> None:
        self._forms: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._forms)

    def add(self, value: str) -> None:
        """Hide a value from now on; one of fewer than 8 characters is not hidden."""
        if len(value) >= SHORTEST:
            found = {*self._forms, *_forms(value)}
            self._forms = tuple(sorted(found, key=lambda form: (-len(form), form)))  # a value may begin another

    def mask(self, text: str) -> str:
        """Return text without the values."""
        for form in self._forms:
            text = text.replace(form, MASK)
        return text

    def mask_result(self, result: object) -> object:
        """Return a JSON value without the values, in its keys as well; what is no JSON value comes back as it is."""
        if not self._forms:
            return result
        try:
            return self._masked(orjson.loads(orjson.dumps(result)))
        except TypeError:
            return result

    def _masked(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self.mask(key): self._masked(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._masked(inner) for inner in value]
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value if (text := str(value)) == self.mask(text) else MASK
        return value


def _forms(value: str) -> set[str]:
    """Return a value as it is, and as JSON, a URL, a form, HTML and Python's errors would write it."""
    in_json = {orjson.dumps(value).decode()[1:-1], json.dumps(value)[1:-1]}
    return {value, *in_json, quote(value, safe=""), quote_plus(value), html.escape(value), repr(value)[1:-1]}
