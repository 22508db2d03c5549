"""When the database's clock says it is time: every due moment is waited for on this estimate of it."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """The database's time between two looks at it, estimated so that it is never ahead.

    A sample is a time the database gave and the monotonic moment at which it arrived; the answer took some time to
    come, so the estimate runs late by that much. The best of the last samples wins, until a time of the database proves
    it to be ahead: the clock was set back, by too little to be a step.
    """

    STEP_SECONDS = 2.0
    KEPT = 8
    CUT_SECONDS = 0.001
    """A time of the database may have been cut to the millisecond."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._offsets: list[float] = []
        self.steps = 0

    def sample(self, database_time: float, asked_at: float | None = None) -> bool:
        """Take in a time just received, in seconds since 1970; return True if the database's clock was set.

        `asked_at` is the monotonic second at which it was asked for, if that is known.
        """
        offset = database_time - self.monotonic()
        stepped = bool(self._offsets) and abs(offset - max(self._offsets)) > self.STEP_SECONDS
        if stepped:
            self._offsets.clear()
            self.steps += 1
        elif asked_at is not None:
            self.correct(database_time, asked_at)
        self._offsets = [*self._offsets[1 - self.KEPT :], offset]
        return stepped

    def correct(self, database_time: float, asked_at: float) -> bool:
        """Forget the samples by which it was later already when a time just received was asked for; return whether
        there were any. A step is left to `sample`, whose caller tells of it."""
        offset = database_time - self.monotonic()
        if not self._offsets or max(self._offsets) - offset > self.STEP_SECONDS:
            return False
        kept = [other for other in self._offsets if asked_at + other <= database_time + self.CUT_SECONDS]
        was_ahead = len(kept) < len(self._offsets)
        self._offsets = kept or [offset]
        return was_ahead

    def now(self) -> float:
        """Return the database's time in seconds since 1970, late by a round trip at most; 0 before any sample."""
        return self.monotonic() + max(self._offsets) if self._offsets else 0.0

    def seconds_until(self, instant: float) -> float:
        """Return how long until the database's time is `instant`; 0 if it is past."""
        return max(0.0, instant - self.now())
