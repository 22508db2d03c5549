"""The one writer of endings: what cannot be written, what was abandoned, what comes late."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from tests.integration.conftest import Stage, resource

from scheduledjobs.core.reasons import Reason, State, Trigger
from scheduledjobs.core.spec import Retry
from scheduledjobs.errors import StoreError
from scheduledjobs.handlers.assignment import Assignment, Ending
from scheduledjobs.steps.complete import Complete
from scheduledjobs.store.sessions import Sessions

ONCE_MORE = Retry(limit=1, backoff=timedelta(seconds=1))


def assignment(claimed: dict[str, Any], replica: UUID, retry: Retry) -> Assignment:
    names = (
        "id", "fire_time", "job_id", "namespace", "job_name", "version", "run_key", "attempt", "claim_no", "handler",
        "missed_count", "first_missed_at", "claimed_at", "due_at",
    )  # fmt: skip
    known = {name: claimed[name] for name in names}
    return Assignment(
        trigger=Trigger.SCHEDULE, payload={}, timeout=None, retry=retry, received_at=0.0, replica=replica, **known
    )


def ending(of: Assignment, state: State = State.SUCCEEDED, **changes: Any) -> Ending:
    known = {"reason": Reason.SUCCESS, "message": None, "result": None, "output": "", "output_truncated": False}
    times = {"started_at": of.at(0.0), "finished_at": of.at(0.5)}
    return Ending(assignment=of, state=state, traceback=None, **{**known, **times, **changes})


class Bench:
    """A writer, two claimed executions of two jobs, and what it told of them."""

    def __init__(self, sessions: Sessions) -> None:
        self.returned: list[tuple[list[int], set[int]]] = []
        self.complete = Complete(sessions, lambda *_: None, self._on_returned, lambda: 0.5)

    def _on_returned(self, assignments: Any, retried: Any) -> None:
        self.returned.append(([assignment.id for assignment in assignments], set(retried)))

    async def write(self) -> None:
        while await self.complete.step() == 0.0:
            pass


async def two(stage: Stage, bench: Bench, retry: Retry = ONCE_MORE) -> list[Assignment]:
    await stage.mirror(resource("one", fixedRate="1s"), resource("two", fixedRate="1s"))
    stage.tick(seconds=1.5)
    await stage.fire()
    replica = await stage.replica()
    bench.complete.replica = replica
    return [assignment(claimed, replica, retry) for claimed in await stage.claim(replica)]


async def test_an_ending_that_cannot_be_written_does_not_hold_up_the_others(stage: Stage) -> None:
    async with Sessions(stage.url, "test", size=1) as sessions:
        bench = Bench(sessions)
        bad, good = await two(stage, bench)
        bench.complete.add([ending(bad, output="\udcff"), ending(good)])
        await bench.write()
    assert [row["state"] for row in stage.rows()] == ["SUCCEEDED", "SUCCEEDED"]
    assert "could not be recorded" in stage.rows()[0]["message"]


async def test_an_ending_that_makes_an_error_of_its_own_does_not_hold_up_the_others(stage: Stage) -> None:
    async with Sessions(stage.url, "test", size=1) as sessions:
        bench = Bench(sessions)
        bad, good = await two(stage, bench)
        failed = ending(bad, State.FAILED, reason=Reason.ERROR, retry_after=30)  # of seconds: no wait at all
        bench.complete.add([failed, ending(good)])
        await bench.write()
    assert [(row["state"], row["reason"]) for row in stage.rows()] == [
        ("PENDING", "Retrying"),
        ("SUCCEEDED", "Success"),
    ]
    assert bench.complete.unwritten == 0


async def test_an_ending_that_is_refused_bare_goes_behind_the_others(stage: Stage) -> None:
    async with Sessions(stage.url, "test", size=1) as sessions:
        bench = Bench(sessions)
        bad, good = await two(stage, bench)
        bench.complete.add([ending(bad, "NOWHERE"), ending(good)])  # type: ignore[arg-type]  a state that SQL refuses
        with pytest.raises(StoreError):
            await bench.write()
        with pytest.raises(StoreError):  # once the other one is written
            await bench.write()
    assert [row["state"] for row in stage.rows()] == ["RUNNING", "SUCCEEDED"]
    assert bench.complete.unwritten == 1


async def test_abandoned_code_that_returns_before_its_ending_is_written_is_not_forgotten(stage: Stage) -> None:
    async with Sessions(stage.url, "test", size=1) as sessions:
        bench = Bench(sessions)
        first, second = await two(stage, bench, Retry())
        bench.complete._batch = 1
        late = ending(second, State.TIMED_OUT, reason=Reason.TIMEOUT_EXCEEDED, abandoned=True)
        bench.complete.add([ending(first), late])
        bench.complete.add_returned([second])
        await bench.write()
    assert [(row["state"], row["abandoned"]) for row in stage.rows()] == [("SUCCEEDED", False), ("TIMED_OUT", False)]


async def test_the_attempt_before_a_retry_is_kept_when_its_thread_returns(stage: Stage) -> None:
    async with Sessions(stage.url, "test", size=1) as sessions:
        bench = Bench(sessions)
        first, _ = await two(stage, bench)
        bench.complete.add([ending(first, State.TIMED_OUT, reason=Reason.TIMEOUT_EXCEEDED, abandoned=True)])
        await bench.write()
        assert stage.rows()[0]["state"] == "TIMED_OUT"
        assert bench.returned == []
        bench.complete.add_returned([first])
        await bench.write()
    assert stage.rows()[0]["state"] == "PENDING"
    assert bench.returned == [([first.id], {first.id})]
    (attempt,) = stage.rows("SELECT * FROM job_execution_attempt")
    assert (attempt["attempt"], attempt["state"]) == (1, "TIMED_OUT")


@pytest.mark.parametrize("jitter", ["0s", "500ms"])
async def test_a_claim_names_when_its_moment_was_due(stage: Stage, jitter: str) -> None:
    await stage.mirror(resource(fixedRate="1s", jitter=jitter))
    job = stage.job()
    stage.tick(seconds=1.6)
    await stage.fire()
    (claimed,) = await stage.claim(await stage.replica())
    assert claimed["due_at"] == job["next_due_at"]
