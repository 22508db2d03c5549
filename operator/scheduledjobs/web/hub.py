"""The hub: a number that rises when anything in the database has changed, so an unchanged page costs no query.

The replica, which listens, tells it, at most once a second for each replica's changes. What it misses is made good by
time: answers are good for a few seconds at most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from secrets import token_hex

SLOT_SECONDS = 10.0


class Hub:
    """The state of what has been seen."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.version = 0
        self._start = token_hex(4)
        self._changed = asyncio.Event()

    def change(self) -> None:
        """Something changed: who waits is woken."""
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Return at the next change, or after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    def stamp(self, seconds: float = SLOT_SECONDS) -> str:
        """Return a word that stays the same while nothing has changed, for at most so many seconds.

        Heartbeats and the output of what runs tell nobody: what shows them asks for a shorter time.
        """
        return f"{self._start}-{self.version}-{int(self._monotonic() // seconds)}"
