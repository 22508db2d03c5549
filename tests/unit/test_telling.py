"""What the leader says of moments that were not run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest

from scheduledjobs.core.job import Job, JobName, NewExecution
from scheduledjobs.core.notices import Recipients
from scheduledjobs.core.reasons import MISSED_REASONS, Reason, State
from scheduledjobs.core.resource import ResourceMeta
from scheduledjobs.steps.announce import Announce
from scheduledjobs.telling import Telling

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
META = ResourceMeta(UUID(int=1), "default", "job", 1, 1)
JOB = cast("Job", JobName(META.uid, META.namespace, META.name))
SKIPPED_REASONS = (Reason.OVERLAP, Reason.QUEUE_FULL, Reason.REPLACED)
TOLD = [*((State.MISSED, reason) for reason in sorted(MISSED_REASONS)), *((State.SKIPPED, r) for r in SKIPPED_REASONS)]


class Said(list[tuple[Reason, str]]):
    """Takes what is said, of which job is known."""

    def say(self, meta: ResourceMeta, reason: Reason, note: str, *, warning: bool = True) -> None:
        assert warning
        assert meta == META
        self.append((reason, note))


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def telling(said: Said) -> Telling:
    return Telling(cast("Announce", said), Recipients({}), {META.uid: META}.get)


@pytest.mark.parametrize(("state", "reason"), TOLD)
def test_a_moment_that_did_not_run_is_told_whatever_the_reason(
    telling: Telling, said: Said, state: State, reason: Reason
) -> None:
    telling.tell_inserted(JOB, NewExecution(NOON, state, reason, moment_count=3))
    assert said == [(reason, f"3 moments from 2026-11-23T12:00:00+00:00 {state.lower()}: {reason}")]


@pytest.mark.parametrize("reason", [Reason.SUSPENDED, Reason.NOT_READY])
def test_what_the_condition_says_is_not_told_of_each_moment_that_is_skipped_for_it(
    telling: Telling, said: Said, reason: Reason
) -> None:
    telling.tell_inserted(JOB, NewExecution(NOON, State.SKIPPED, reason))
    assert said == []


def test_what_was_skipped_for_a_run_is_told_with_it(telling: Telling, said: Said) -> None:
    telling.tell_inserted(JOB, NewExecution(NOON, State.PENDING, Reason.REPLACING, replaced=(NOON,)))
    assert [reason for reason, _ in said] == [Reason.REPLACED]


def closed(state: State, reason: Reason) -> dict[str, Any]:
    return {"job_id": META.uid, "fire_time": NOON, "state": str(state), "reason": str(reason), "message": "why"}


def test_of_what_is_closed_while_it_waits_only_what_never_ran_is_told(telling: Telling, said: Said) -> None:
    """How others have ended is told by the status."""
    telling.tell_closed(
        [
            closed(State.MISSED, Reason.STARTING_DEADLINE_EXCEEDED),
            closed(State.LOST, Reason.REPLICA_DIED),
            closed(State.CANCELLED, Reason.REPLACED),
            {**closed(State.MISSED, Reason.STARTING_DEADLINE_EXCEEDED), "job_id": UUID(int=2)},  # its resource is gone
        ]
    )
    assert said == [(Reason.STARTING_DEADLINE_EXCEEDED, "the moment 2026-11-23T12:00:00+00:00 missed: why")]
