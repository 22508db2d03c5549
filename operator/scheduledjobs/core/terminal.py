"""Text for a terminal: what job code and other people wrote steers no cursor, no colour and no reading direction."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """Return text with every character that does not print escaped as Python would, but those in `keep`."""
    if text.isprintable():
        return text
    return "".join(
        char if char in keep or char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
