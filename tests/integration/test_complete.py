"""The one writer of endings: what cannot be written, what was abandoned, what comes late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from tests.integration.conftest import Stage, resource

from scheduledjobs.core.reasons import Reason, State, Trigger
from scheduledjobs.core.spec import Retry
from scheduledjobs.errors import StoreBusy, StoreError
from scheduledjobs.handlers.assignment import Assignment, Ending
from scheduledjobs.steps import complete
from scheduledjobs.steps.complete import Complete
from scheduledjobs.store.sessions import Sessions

NAMES = ("one", "two")
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
    """A writer, claimed executions of two jobs, and what it told of them; its seconds are the test's."""

    def __init__(self, sessions: Sessions) -> None:
        self.now = 0.0
        self.written: list[int] = []
        self.returned: list[tuple[list[int], set[int]]] = []
        self.complete = Complete(sessions, self._on_written, self._on_returned, lambda: 0.5, lambda: self.now)

    def _on_written(self, endings: Any, _stale: Any, _retried: Any) -> None:
        self.written += [ending.assignment.id for ending in endings]

    def _on_returned(self, assignments: Any, retried: Any) -> None:
        self.returned.append(([assignment.id for assignment in assignments], set(retried)))

    async def write(self) -> None:
        while await self.complete.step() == 0.0:
            pass


async def two(stage: Stage, bench: Bench, retry: Retry = ONCE_MORE, names: Sequence[str] = NAMES) -> list[Assignment]:
    await stage.mirror(*(resource(name, fixedRate="1h") for name in names))
    stage.tick(hours=1, seconds=1)
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


@contextmanager
def locked(stage: Stage, of: Assignment) -> Iterator[None]:
    """Somebody's transaction that has locked a row and stays open."""
    with psycopg.connect(stage.url) as conn:
        conn.execute("SELECT FROM job_execution_log WHERE id = %(id)s FOR UPDATE", {"id": of.id})
        yield


IMPATIENT = {"lock_timeout": "50ms"}


async def test_an_ending_whose_row_somebody_has_locked_does_not_hold_up_the_others(stage: Stage) -> None:
    async with Sessions(stage.url, "test", size=1, **IMPATIENT) as sessions:
        bench = Bench(sessions)
        first, second, third, fourth = await two(stage, bench, names=("one", "two", "three", "four"))
        with locked(stage, second):
            bench.complete.add([ending(first), ending(second), ending(third)])
            await bench.write()
            assert bench.written == [first.id, third.id]
            bench.complete.add([ending(fourth)])
            bench.now += 60
            assert await bench.complete.step() == complete.LOOK_SECONDS  # at once, waiting for no lock
            assert bench.written == [first.id, third.id, fourth.id]
            assert [row["state"] for row in stage.rows()] == ["SUCCEEDED", "RUNNING", "SUCCEEDED", "SUCCEEDED"]
            assert bench.complete.unwritten_claims == {second.key}  # its slot is not free
            assert bench.complete.unwritten == 1
        await bench.write()
        assert bench.complete.unwritten == 1  # it has not been looked at since
        bench.now += 60
        await bench.write()
    assert {row["state"] for row in stage.rows()} == {"SUCCEEDED"}
    assert (bench.written[-1], bench.complete.unwritten) == (second.id, 0)


async def test_a_row_that_somebody_has_locked_does_not_hold_up_abandoned_code_that_returns(stage: Stage) -> None:
    async with Sessions(stage.url, "test", size=1, **IMPATIENT) as sessions:
        bench = Bench(sessions)
        first, second = await two(stage, bench, Retry())
        late = {"reason": Reason.TIMEOUT_EXCEEDED, "abandoned": True}
        bench.complete.add([ending(first, State.TIMED_OUT, **late), ending(second, State.TIMED_OUT, **late)])
        await bench.write()
        with locked(stage, first):
            bench.complete.add_returned([first, second])
            await bench.write()
            assert [row["abandoned"] for row in stage.rows()] == [True, False]
        bench.now += 60
        await bench.write()
    assert [row["abandoned"] for row in stage.rows()] == [False, False]
    assert bench.returned == [([second.id], set()), ([first.id], set())]


async def test_endings_wait_for_a_lock_that_is_on_no_row_of_theirs_and_none_is_lost(stage: Stage) -> None:
    async with Sessions(stage.url, "test", size=1, **IMPATIENT) as sessions:
        bench = Bench(sessions)
        both = await two(stage, bench)
        with psycopg.connect(stage.url) as conn:
            conn.execute("LOCK TABLE job_execution_output IN SHARE MODE")
            bench.complete.add([ending(of, output="said") for of in both])
            assert await bench.complete.step() == 0.0  # tries one alone
            with pytest.raises(StoreBusy):
                await bench.complete.step()
            with pytest.raises(StoreBusy):
                await bench.complete.step()
        assert bench.complete.unwritten_claims == {of.key for of in both}
        await bench.write()
    assert [row["state"] for row in stage.rows()] == ["SUCCEEDED", "SUCCEEDED"]
    assert len(stage.rows("SELECT FROM job_execution_output")) == 2


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


async def told(stage: Stage, retry: Retry, ticks: float, started: float, finished: float) -> tuple[dict[str, Any], ...]:
    """The row and the earlier attempts of what began and ended so many seconds after its claim by the replica's count,
    told to the log `ticks` seconds after it."""
    one, _ = await two(stage, Bench(Sessions(stage.url, "test", size=1)), retry)
    stage.tick(seconds=ticks)
    async with Sessions(stage.url, "test", size=1, **stage.clock_setting) as sessions:
        bench = Bench(sessions)
        bench.complete.replica = one.replica
        times = {"started_at": one.at(started), "finished_at": one.at(finished)}
        bench.complete.add([ending(one, State.FAILED, reason=Reason.ERROR, **times)])
        await bench.write()
    (row,) = stage.rows(f"SELECT *, coalesce(due_at, fire_time) AS due FROM job_execution_log WHERE id = {one.id}")
    return row, *stage.rows("SELECT * FROM job_execution_attempt")


@pytest.mark.parametrize("retry", [Retry(limit=0), ONCE_MORE], ids=["last", "retried"])
async def test_no_attempt_ends_later_than_it_is_told(stage: Stage, retry: Retry) -> None:
    row, *attempts = await told(stage, retry, ticks=3, started=4.0, finished=5.0)  # its claim took 2 s to arrive
    (ended,) = attempts or [row]
    assert ended["finished_at"] <= await stage.now()
    assert ended["finished_at"] - ended["started_at"] == timedelta(seconds=1)
    assert timedelta(seconds=2) <= row["started_at"] - row["claimed_at"] < timedelta(seconds=4)
    assert timedelta(milliseconds=row["lateness_ms"]) == row["started_at"] - row["due"]


async def test_no_attempt_is_told_to_begin_before_its_claim(stage: Stage) -> None:
    # The server's clock was set back by a minute.
    (row,) = await told(stage, Retry(limit=0), ticks=0, started=0.001, finished=60.0)
    assert row["started_at"] == row["claimed_at"] <= row["finished_at"] <= await stage.now()
    assert row["duration_ms"] == 59_999
