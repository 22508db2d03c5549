"""The output of a running attempt: kept while it runs, never by who does not run it, and the last word is the end's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import pytest
from tests.integration.conftest import Stage, resource
from tests.integration.test_complete import assignment

from scheduledjobs.core.spec import Retry
from scheduledjobs.errors import StoreBusy, StoreError
from scheduledjobs.handlers import Execution
from scheduledjobs.handlers.execution import Output, captured
from scheduledjobs.handlers.registry import AnyPayload, Handler, Registry
from scheduledjobs.handlers.runner import Runner
from scheduledjobs.steps import tail
from scheduledjobs.steps.tail import Tail
from scheduledjobs.store.executions import hand_back_executions, insert_outputs, write_outputs
from scheduledjobs.store.sessions import Sessions, connect


async def running(stage: Stage) -> tuple[UUID, dict[str, Any]]:
    """Return a replica and what it has claimed."""
    await stage.mirror(resource(fixedRate="1s"))
    stage.tick(seconds=1.5)
    await stage.fire()
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    return replica, claimed


def logged(claimed: dict[str, Any], text: str) -> dict[str, Any]:
    same = {name: claimed[name] for name in ("fire_time", "attempt", "claim_no")}
    return {**same, "execution_id": claimed["id"], "output": text, "truncated": False}


async def write(stage: Stage, replica: UUID, claimed: dict[str, Any], text: str) -> int:
    """Return how many were written."""
    async with connect(stage.url, "test") as conn:
        return len(await write_outputs(conn, replica, [logged(claimed, text)]))


def outputs(stage: Stage) -> list[str]:
    return [row["output"] for row in stage.rows("SELECT output FROM job_execution_output")]


async def test_output_grows_while_an_attempt_runs(stage: Stage) -> None:
    replica, claimed = await running(stage)
    assert await write(stage, replica, claimed, "one") == 1
    assert await write(stage, replica, claimed, "one\ntwo") == 1
    assert outputs(stage) == ["one\ntwo"]


async def test_the_end_has_the_last_word(stage: Stage) -> None:
    replica, claimed = await running(stage)
    await write(stage, replica, claimed, "one")
    await stage.complete(replica, claimed)
    async with connect(stage.url, "test") as conn:
        await insert_outputs(conn, [logged(claimed, "one\ntwo\nthree")])
    assert await write(stage, replica, claimed, "one\ntwo") == 0
    assert outputs(stage) == ["one\ntwo\nthree"]


async def test_a_row_that_is_being_completed_is_passed_over(stage: Stage) -> None:
    replica, claimed = await running(stage)
    async with connect(stage.url, "completing") as conn, conn.transaction():
        await conn.execute("UPDATE job_execution_log SET message = 'on its way'")
        assert await write(stage, replica, claimed, "late") == 0


async def test_who_has_lost_its_claim_writes_no_output(stage: Stage) -> None:
    replica, claimed = await running(stage)
    async with connect(stage.url, "test") as conn:
        await hand_back_executions(conn, replica, [claimed])
    other = await stage.replica()
    (fresh,) = await stage.claim(other)
    assert await write(stage, replica, claimed, "stale") == 0
    assert await write(stage, other, claimed, "of another claim") == 0
    assert await write(stage, other, fresh, "mine") == 1
    assert outputs(stage) == ["mine"]


@dataclass
class Bench:
    """Attempts that have run for long, and what is kept of their outputs."""

    stage: Stage
    tail: Tail
    outputs: list[Output]

    def log(self, line: str) -> None:
        """Have every attempt log a line."""
        for output in self.outputs:
            output.add(line)

    def kept(self) -> list[str]:
        return outputs(self.stage)


@asynccontextmanager
async def long_running(stage: Stage, count: int) -> AsyncIterator[Bench]:
    await stage.mirror(*(resource(f"job-{number}", fixedRate="1s") for number in range(count)))
    stage.tick(seconds=1.5)
    await stage.fire()
    replica, begun = await stage.replica(), asyncio.Queue[Any]()
    loop, seconds = asyncio.get_running_loop(), iter([0.0] * count)  # at which each begins; then it is much later

    async def handle(_execution: Execution, _payload: AnyPayload) -> None:
        loop.call_soon_threadsafe(begun.put_nowait, captured.get())
        await asyncio.Event().wait()

    registry = Registry([Handler("log", handle, AnyPayload, is_async=True)])
    runner = Runner(registry, count, lambda _: None, lambda _: None, lambda: next(seconds, 60.0))
    runner.start()
    async with Sessions(stage.url, "test", size=1, lock_timeout="50ms") as sessions:
        try:
            runner.submit([assignment(claimed, replica, Retry()) for claimed in await stage.claim(replica, count)])
            made = Tail(sessions, runner)
            made.replica = replica
            yield Bench(stage, made, [await asyncio.wait_for(begun.get(), 5) for _ in range(count)])
        finally:
            await runner.close()


async def test_no_output_is_kept_from_its_turn_by_others_that_have_news_again_and_again(stage: Stage) -> None:
    async with long_running(stage, tail.MOST + 1) as bench:
        bench.log("one")
        assert await bench.tail.step() == 0.0
        bench.log("two")
        assert await bench.tail.step() is None  # all have had their turn: until the next one, a pause
        assert sorted(bench.kept()) == ["one"] * tail.MOST + ["one\ntwo"]
        assert await bench.tail.step() == 0.0
        assert await bench.tail.step() is None
        assert bench.kept() == ["one\ntwo"] * (tail.MOST + 1)


async def test_outputs_that_grow_all_the_time_are_written_once_between_two_pauses(stage: Stage) -> None:
    async with long_running(stage, tail.MOST) as bench:
        waits = []
        for line in ("one", "two", "three"):
            bench.log(line)
            waits.append(await bench.tail.step())
        assert waits == [0.0, None, 0.0]
        assert bench.kept() == ["one\ntwo\nthree"] * tail.MOST


async def test_output_that_could_not_be_written_is_written_though_nothing_more_is_logged(stage: Stage) -> None:
    async with long_running(stage, 2) as bench:
        bench.log("one")
        with psycopg.connect(stage.url) as conn:
            conn.execute("LOCK TABLE job_execution_output IN SHARE MODE")
            with pytest.raises(StoreBusy):
                await bench.tail.step()
        assert await bench.tail.step() is None
        assert bench.kept() == ["one", "one"]


async def test_output_of_a_row_that_was_locked_is_written_though_nothing_more_is_logged(stage: Stage) -> None:
    async with long_running(stage, 2) as bench:
        bench.log("one")
        with psycopg.connect(stage.url) as conn:
            conn.execute("SELECT FROM job_execution_log WHERE job_name = 'job-0' FOR UPDATE")
            assert await bench.tail.step() is None  # it is asked again after a pause, not at once
            assert bench.kept() == ["one"]
        await bench.tail.step()
        assert bench.kept() == ["one", "one"]


async def test_output_that_is_refused_keeps_no_other_back_and_is_tried_again(stage: Stage) -> None:
    async with long_running(stage, 3) as bench:
        with psycopg.connect(stage.url, autocommit=True) as conn:
            conn.execute("ALTER TABLE job_execution_output ADD CONSTRAINT good CHECK (output <> 'bad')")
            for output, line in zip(bench.outputs, ("good", "bad", "good"), strict=True):
                output.add(line)
            assert await refused(bench) == 2  # with the others, and alone
            assert bench.kept() == ["good", "good"]
            conn.execute("ALTER TABLE job_execution_output DROP CONSTRAINT good")
        assert await refused(bench) == 0
        assert sorted(bench.kept()) == ["bad", "good", "good"]


async def refused(bench: Bench) -> int:
    """Go on to the next pause; return how many writes were refused."""
    count = 0
    for _ in range(10):
        try:
            if await bench.tail.step() is None:
                return count
        except StoreError:
            count += 1
    raise AssertionError("no pause")
