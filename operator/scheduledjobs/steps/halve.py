"""Halve: write many things in one transaction, and if that fails, find the one that cannot be written.

One bad object must not hold up the others, whatever is wrong with it. That the term is lost or Postgres is away is no
object's fault, and is passed on; so is that somebody else's lock is in the way, but after the others are written.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from scheduledjobs.errors import StoreBusy, StoreUnavailable, TermLost

T = TypeVar("T")

MOST_WAITS = 11
"""Each wait for a lock takes as long as the session allows. So many find one object among a thousand; where they do
not, the whole table is locked."""


async def halving(
    items: Sequence[T],
    write: Callable[[Sequence[T]], Awaitable[None]],
    on_bad: Callable[[T, Exception], None],
    on_unheard: Callable[[Sequence[T]], None],
) -> None:
    """Await `write(items)`; if it raises, write each half; `on_bad(item, error)` is told of one that fails alone.

    `on_unheard(items)` is told of those of which a COMMIT may have landed though its answer was lost, or may land yet.
    Raises `StoreBusy` at the end if one could not be written for now, and before it where more than a few are locked.
    """
    parts = [items]
    waits, locked = 0, None
    while parts:
        part = parts.pop()
        try:
            await write(part)
            continue
        except StoreBusy as error:
            waits += 1
            if waits > MOST_WAITS:
                raise
            if len(part) == 1:
                locked = error
                continue
        except (TermLost, StoreUnavailable):
            on_unheard(part)
            raise
        except Exception as error:  # noqa: BLE001 a defect that one object meets must not stop the others
            if len(part) == 1:
                on_bad(part[0], error)
                continue
        half = len(part) // 2
        parts += [part[half:], part[:half]]
    if locked is not None:
        raise locked
