"""Lag: how late the event loop wakes, seen by a short timer: what holds the loop up holds up every step."""

from __future__ import annotations

import time
from collections.abc import Callable

EVERY_SECONDS = 0.25


class Lag:
    """The worst lateness of a timer since somebody last took it."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._due_at: float | None = None
        self._worst = 0.0

    async def step(self) -> None:
        """See how late this pass is; the next one is due in `EVERY_SECONDS`."""
        now = self._monotonic()
        self._look(now)
        self._due_at = now + EVERY_SECONDS

    def take_ms(self) -> float:
        """Return the worst lateness in milliseconds, one that is not over yet too, and begin anew."""
        self._look(self._monotonic())
        worst, self._worst = self._worst, 0.0
        return worst * 1000

    def _look(self, now: float) -> None:
        if self._due_at is not None:
            self._worst = max(self._worst, now - self._due_at)
