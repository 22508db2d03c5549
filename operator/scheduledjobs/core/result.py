"""What a handler leaves, in a form that JSON and Postgres can hold: a result of at most 16 KiB, text without NUL."""

from __future__ import annotations

import re

import orjson

MOST_RESULT = 16 * 1024
NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def has_nul(encoded: bytes) -> bool:
    """Return whether a JSON text has the character NUL, which Postgres cannot hold; one that speaks of it has none."""
    return b"\\u0000" in encoded and NUL.search(encoded) is not None


def plain(text: str) -> str:
    """Return text without NUL and lone surrogates: any file name that is not UTF-8 brings these into a message."""
    return text.replace("\0", "").encode(errors="replace").decode()


class NotJson(ValueError):
    """A handler returned something that is not a JSON value."""


def encode_result(result: object) -> bytes | None:
    """Return a result as JSON, or None for None; a longer one as {"truncated": true, "text": its beginning}.

    `NotJson` where it is not a JSON value: the execution then counts as failed, since its result is lost.
    """
    if result is None:
        return None
    try:
        encoded = orjson.dumps(result)
    except TypeError as error:
        raise NotJson(f"the handler returned {type(result).__name__}, which is not a JSON value: {error}") from error
    encoded = NUL.sub(rb"\1", encoded) if b"\\u0000" in encoded else encoded
    return encoded if len(encoded) <= MOST_RESULT else _cut(encoded)


def _cut(encoded: bytes) -> bytes:
    """Return the beginning of a long result as text; quoting makes it longer, so it is cut until it fits."""
    kept, cut = MOST_RESULT, encoded
    while len(cut) > MOST_RESULT:
        kept = kept * 3 // 4
        text = encoded[:kept].decode(errors="ignore")
        cut = orjson.dumps({"truncated": True, "bytes": len(encoded), "text": text})
    return cut
