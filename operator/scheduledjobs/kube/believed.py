"""What the API server said is believed for a minute, and for five more while it does not answer.

One question has one request under way, however many wait for it. After a try that brought no answer at all nobody tries
for two seconds: an outage must not cost every page its whole time limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Generic, TypeVar

from scheduledjobs.errors import KubeUnavailable

FRESH_SECONDS = 60.0
OUTAGE_SECONDS = 300.0
PAUSE_SECONDS = 2.0

T = TypeVar("T")
Monotonic = Callable[[], float]


class Line:
    """Whether it is of any use to ask now."""

    def __init__(self, monotonic: Monotonic) -> None:
        self.monotonic = monotonic
        self._broke_at = float("-inf")

    def check(self) -> None:
        """Raise `KubeUnavailable` for two seconds after a try in vain."""
        if self.monotonic() - self._broke_at < PAUSE_SECONDS:
            raise KubeUnavailable("the API server did not answer a moment ago")

    def broke(self) -> None:
        """There was no answer at all."""
        self._broke_at = self.monotonic()


class Doubt:
    """Since when something could not be asked anew: the moment of the oldest answer that was used all the same."""

    def __init__(self) -> None:
        self.since: datetime | None = None

    def used(self, answered_at: datetime) -> None:
        """An answer of that moment was used, because there was no newer one."""
        self.since = answered_at if self.since is None else min(self.since, answered_at)

    def ended(self) -> None:
        """There are new answers."""
        self.since = None


class Believed(Generic[T]):
    """One question and its answer."""

    def __init__(self, line: Line, doubt: Doubt, ask: Callable[[], Awaitable[T]]) -> None:
        self._line = line
        self._doubt = doubt
        self._ask = ask
        self._answer: list[T] = []
        self._asked = float("-inf")  # before the question went out, not when its answer came
        self._answered_at = datetime.now(UTC)
        self._task: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """Return the answer. `KubeUnavailable` if there is none that may be believed; other refusals as they are."""
        if self._answer and self._age() < FRESH_SECONDS:
            return self._answer[0]
        try:
            return await self._anew()
        except KubeUnavailable:
            if not self._answer or self._age() >= FRESH_SECONDS + OUTAGE_SECONDS:
                raise
            self._doubt.used(self._answered_at)
            return self._answer[0]

    async def get_anew(self) -> T:
        """Return an answer that is asked for now, where an older one will not do; `KubeUnavailable` for none."""
        return await self._anew()

    def _age(self) -> float:
        return self._line.monotonic() - self._asked

    async def _anew(self) -> T:
        if self._task is None:
            self._line.check()
            self._task = asyncio.create_task(self._request())
            self._task.add_done_callback(_retrieve)
        return await asyncio.shield(self._task)  # one who hangs up must not take the answer from the others

    async def _request(self) -> T:
        asked = self._line.monotonic()
        try:
            answer = await self._ask()
        except KubeUnavailable as error:
            if error.status == 0:
                self._line.broke()
            raise
        finally:
            self._task = None
        self._answer, self._asked, self._answered_at = [answer], asked, datetime.now(UTC)
        self._doubt.ended()
        return answer


def _retrieve(task: asyncio.Task[T]) -> None:
    """Look at the end of a request for which nobody waits any more: asyncio warns of errors that nobody sees."""
    if not task.cancelled():
        task.exception()
