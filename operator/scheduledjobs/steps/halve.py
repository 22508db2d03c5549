"""Halve: write many things in one transaction, and if that fails, find the one that cannot be written.

One bad object must not hold up the others, whatever is wrong with it. That the term is lost or Postgres is away is no
object's fault, and is passed on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from scheduledjobs.errors import StoreUnavailable, TermLost

T = TypeVar("T")


async def halving(
    items: Sequence[T], write: Callable[[Sequence[T]], Awaitable[None]], on_bad: Callable[[T, Exception], None]
) -> None:
    """Await `write(items)`; if it raises, write each half; `on_bad(item, error)` is told of one that fails alone."""
    try:
        await write(items)
    except (TermLost, StoreUnavailable):
        raise
    except Exception as error:  # noqa: BLE001 a defect that one object meets must not stop the others
        if len(items) == 1:
            on_bad(items[0], error)
            return
        half = len(items) // 2
        await halving(items[:half], write, on_bad)
        await halving(items[half:], write, on_bad)
