"""An attempt as the runner is given it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from scheduledjobs.core.reasons import Trigger
from scheduledjobs.core.spec import Retry
from scheduledjobs.handlers.assignment import Assignment

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def assigned(number: int, handler: str, **changes: Any) -> Assignment:
    """The first attempt of a scheduled execution, claimed at noon and received at second 0."""
    known: dict[str, Any] = {
        "id": number,
        "fire_time": NOON,
        "job_id": UUID(int=1),
        "namespace": "default",
        "job_name": "job",
        "version": 1,
        "run_key": "",
        "attempt": 1,
        "trigger": Trigger.SCHEDULE,
        "claim_no": 1,
        "handler": handler,
        "payload": {},
        "timeout": None,
        "retry": Retry(),
        "missed_count": None,
        "first_missed_at": None,
        "claimed_at": NOON,
        "received_at": 0.0,
        "due_at": NOON,
    }
    return Assignment(**{**known, **changes})
