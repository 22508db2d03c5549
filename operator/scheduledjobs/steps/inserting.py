"""Claim on insert: what the firing replica has free slots for is inserted as claimed by it, and begins with the COMMIT.

That saves a round trip, a transaction and a NOTIFY for each. Only where nothing else waits: so nobody's turn is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol
from uuid import UUID

from scheduledjobs.core.job import Job, NewExecution
from scheduledjobs.store.queries import Row


class Claimant(Protocol):
    """The claims of the replica that fires; see Claim."""

    def reserve(self, handlers: Iterable[str], count: int) -> UUID | None:
        """Keep slots for rows that are about to be inserted as claimed; return the id to claim them with, or None."""

    def give_up(self, count: int) -> None:
        """Let go of slots that were kept, for rows of which nobody knows whether they were written."""

    async def begin(self, replica: UUID, rows: Sequence[Row], sent_at: float, count: int) -> None:
        """Begin what was inserted as claimed, in slots that were kept for it."""


class Inserting:
    """One transaction that inserts executions; an asynchronous context around it.

    What it took begins at its end, once the block has committed. If the block fails, nobody knows whether the rows
    were written: they are looked for, and given back.
    """

    def __init__(self, claimant: Claimant | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._claimant = claimant
        self._monotonic = monotonic
        self._replica: UUID | None = None
        self._count = 0
        self._sent_at = 0.0
        self._rows: Any = None

    def take(self, executions: Sequence[tuple[Job, NewExecution]]) -> UUID | None:
        """Return for whom the rows that may run at once are claimed, or None where they are to wait."""
        ready = [job.handler for job, row in executions if row.is_claimable]
        if self._claimant is None or not ready:
            return None
        self._sent_at = self._monotonic()
        self._replica = self._claimant.reserve(set(ready), len(ready))
        self._count = len(ready)
        return self._replica

    def sent(self, rows: Any) -> None:
        """Take the cursor on which the claimed rows will be, at the latest with the answer to COMMIT."""
        self._rows = rows

    @property
    def has_taken(self) -> bool:
        """True if what may run at once is claimed."""
        return self._replica is not None

    async def __aenter__(self) -> Inserting:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._claimant is None or self._replica is None:
            return
        if kind is not None:
            self._claimant.give_up(self._count)
            return
        await self._claimant.begin(self._replica, await self._rows.fetchall(), self._sent_at, self._count)
