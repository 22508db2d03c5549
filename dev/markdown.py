"""What the generated references share: tables of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, and an empty one after it."""
    lines = [line(head), line(["---"] * len(head))]
    return [*lines, *(line([cell(each) for each in row]) for row in rows), ""]


def line(cells: Sequence[str]) -> str:
    """Return one row."""
    return f"| {' | '.join(cells)} |"


def cell(text: str) -> str:
    """Return a text as a cell can hold it: on one line, its bars escaped."""
    return " ".join(text.split()).replace("|", "\\|")
