"""Masking: what looks like a secret is not shown. By the name of its key, and in the address of a URL; the rest stays.

It is a courtesy to whoever looks at a page with others in the room, not a safe: a secret under a harmless name is seen.
"""

from __future__ import annotations

import re
from typing import Any

MASK = "•••"
WORDS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "apikey",
    "accesskey",
    "credential",
    "cookie",
    "privatekey",
)
SECRET = re.compile("|".join(WORDS))
SEPARATORS = re.compile(r"[\W_]+")
LOGIN = re.compile(r"://[^\s/?#\"'<>]*@")
PARAMETER = re.compile(r"([?&])([^\s?&#=\"'<>]+)=([^\s&#\"'<>]+)")


def masked(value: Any) -> Any:
    """Return a JSON value with `•••` in place of what looks like a secret, however deep it lies."""
    if isinstance(value, dict):
        named = value.get("name", value.get("key"))  # an entry of a list: {"name": "API_KEY", "value": "..."}
        is_entry = isinstance(named, str) and is_secret(named)
        return {
            key: MASK if _may_hide(inner) and (is_secret(key) or (is_entry and key == "value")) else masked(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [masked(inner) for inner in value]
    return _without_login(value) if isinstance(value, str) else value


def is_secret(key: str) -> bool:
    """Return whether a key names a secret: `API-Key`, `apiKey`, `db_password`, `X-Auth-Token`."""
    return SECRET.search(SEPARATORS.sub("", key).casefold()) is not None


def _may_hide(value: Any) -> bool:
    """Whether there is anything to hide: a flag, or nothing at all, is no secret."""
    return not isinstance(value, bool) and value not in (None, "", [], {})


def _without_login(text: str) -> str:
    """Mask the user and password of every URL in a text, and its parameters that look like a secret."""
    if "://" not in text:
        return text
    return PARAMETER.sub(_parameter, LOGIN.sub(f"://{MASK}@", text))


def _parameter(found: re.Match[str]) -> str:
    sign, name, _ = found.groups()
    return f"{sign}{name}={MASK}" if is_secret(name) else found[0]
