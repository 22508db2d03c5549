"""An attempt before and after: what a claim hands to the runner, and what the runner hands back to be written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from scheduledjobs.core.reasons import Reason, State, Trigger
from scheduledjobs.core.spec import Retry

Key = tuple[int, int]
"""The id of an execution and the number of its claim."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why an attempt is being stopped: how it will end."""

    state: State
    reason: Reason
    message: str


@dataclass(slots=True)  # not frozen, nor is Ending: a frozen one takes three times as long to make, at every execution
class Assignment:
    """A claimed execution with what its attempt needs.

    `due_at` is the fire time and its jitter, `claimed_at` the database's time of the claim and `received_at` the
    monotonic second at which the claim was sent, so that a moment of this process can be told in the database's time,
    late by a round trip at most.
    """

    id: int
    fire_time: datetime
    job_id: UUID
    namespace: str
    job_name: str
    version: int
    run_key: str
    attempt: int
    trigger: Trigger
    claim_no: int
    handler: str
    payload: Mapping[str, Any]
    timeout: timedelta | None
    retry: Retry
    missed_count: int | None
    first_missed_at: datetime | None
    claimed_at: datetime
    received_at: float
    due_at: datetime
    replica: UUID | None = None
    started_at: datetime | None = None
    """When the attempt began, if that was under an earlier claim: it was handed over."""

    noted: Any = None
    """What an earlier claim of this attempt has noted."""

    logged: tuple[str, bool] | None = None
    """What an earlier claim of this attempt has logged, and whether that was cut."""

    stop: Stop | None = None
    """It was asked to stop before it was claimed: it begins only to end what an earlier claim left."""

    is_awaited: bool = False
    """Whether the leader may wait for its end: to fire what is held behind it, or to count a delay from it."""

    refusal: str | None = None
    """Why its parameters cannot be read, if so: its handler is not called."""

    @property
    def elapsed_seconds(self) -> float:
        """How long the attempt had run already when it was claimed."""
        return 0.0 if self.started_at is None else max(0.0, (self.claimed_at - self.started_at).total_seconds())

    @property
    def key(self) -> Key:
        """Which claim of which execution this is."""
        return self.id, self.claim_no

    @property
    def guard(self) -> dict[str, Any]:
        """What a statement needs to find the row, and to leave it alone under any other claim."""
        return {"id": self.id, "fire_time": self.fire_time, "claim_no": self.claim_no}

    def at(self, monotonic_second: float) -> datetime:
        """Return a moment of this process in the database's time, never earlier than it was; at most as much later as
        the claim took."""
        return self.claimed_at + timedelta(seconds=monotonic_second - self.received_at)


@dataclass(slots=True)
class Ending:
    """How an attempt ended. `result` is JSON: of one that is handed over, what it has noted.

    `abandoned` says that its code still runs and keeps its slot.
    """

    assignment: Assignment
    state: State
    reason: Reason
    message: str | None
    result: bytes | None
    output: str
    output_truncated: bool
    traceback: str | None
    started_at: datetime
    finished_at: datetime
    abandoned: bool = False
    retry_after: timedelta | None = None
    """The wait before another attempt that the handler asked for, if it did; of one that is handed over because it
    cannot be gone on with here, the wait before another claim."""
