"""When the database's clock says it is time: every due moment is waited for on this estimate of it."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """The database's time between two looks at it, estimated so that it is never ahead.

    A sample is a time the database gave and the monotonic moment at which it arrived; the answer took some time to
    come, so the estimate runs late by that much. The best of the last samples wins.
    """

    STEP_SECONDS = 2.0
    KEPT = 8

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._offsets: list[float] = []
        self.steps = 0

    def sample(self, database_time: float) -> bool:
        """Take in a time just received, in seconds since 1970; return True if the database's clock was set."""
        offset = database_time - self._monotonic()
        stepped = bool(self._offsets) and abs(offset - max(self._offsets)) > self.STEP_SECONDS
        if stepped:
            self._offsets.clear()
            self.steps += 1
        self._offsets = [*self._offsets[1 - self.KEPT :], offset]
        return stepped

    def now(self) -> float:
        """Return the database's time in seconds since 1970, late by a round trip at most; 0 before any sample."""
        return self._monotonic() + max(self._offsets) if self._offsets else 0.0

    def seconds_until(self, instant: float) -> float:
        """Return how long until the database's time is `instant`; 0 if it is past."""
        return max(0.0, instant - self.now())
