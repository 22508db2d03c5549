"""Backoff: how long an execution waits between an attempt that ended badly and the next one."""

from __future__ import annotations

from datetime import timedelta

from scheduledjobs.core.reasons import FAILURE_STATES, Reason, State
from scheduledjobs.core.spec import Retry

SPREAD = 0.1
"""Waits vary by this share in both directions, so that jobs that failed together do not come back together."""

FINAL = frozenset({Reason.PERMANENT_ERROR, Reason.INVALID_PAYLOAD})
"""Failures that another attempt cannot mend."""


def backoff(retry: Retry, attempt: int, fraction: float) -> timedelta:
    """Return the wait after attempt number `attempt` (from 1); `fraction` in [0, 1) is the caller's randomness.

    `backoff` after the first attempt, twice as much after each further one, +-10 %; at most `maxBackoff`, from which it
    only goes down.
    """
    doublings = min(attempt - 1, 64)
    wait = min(retry.backoff * 2**doublings, retry.max_backoff) if doublings < 20 else retry.max_backoff
    least, most = wait * (1 - SPREAD), min(wait * (1 + SPREAD), retry.max_backoff)
    return least + (most - least) * fraction


def next_attempt_in(
    retry: Retry, state: State, reason: Reason, attempt: int, fraction: float, asked: timedelta | None = None
) -> timedelta | None:
    """Return how long to wait for the next attempt, or None if there is none; `asked` is what the handler named."""
    if state not in FAILURE_STATES or reason in FINAL or attempt > retry.limit:
        return None
    return backoff(retry, attempt, fraction) if asked is None else asked
