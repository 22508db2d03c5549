"""Attempts whose work survives the replica: what a stop does to them, and how they go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from tests.unit.assigned import NOON, assigned
from tests.unit.test_runner import Bench

from scheduledjobs.core.reasons import Reason, State
from scheduledjobs.core.result import MOST_RESULT
from scheduledjobs.errors import Failed
from scheduledjobs.handlers import Execution, Handler, handler
from scheduledjobs.handlers.assignment import Assignment, Ending, Stop
from scheduledjobs.handlers.execution import MOST_OUTPUT, Output, hide
from scheduledjobs.handlers.registry import Registry

DRAINED = Stop(State.LOST, Reason.DRAINED, "the replica stopped")
CANCELLED = Stop(State.CANCELLED, Reason.CANCEL_REQUESTED, "cancelled by somebody")


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.runner.close()


class Outside:
    """Work outside of the process, which a handler that survives begins and ends."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ending = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.told: list[str] = []
        self.takes_seconds = 0.0

    async def handle(self, execution: Execution, _payload: Any) -> str:
        execution.note.set({"work": 7})
        self.loop.call_soon_threadsafe(self.began.set)
        if execution.stopping.is_set():
            self.told.append("ended at once")
            raise asyncio.CancelledError
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if execution.stopping.hands_over:
                self.told.append("left alone")
                raise
            self.told.append("ending")
            self.loop.call_soon_threadsafe(self.ending.set)
            try:
                await asyncio.sleep(self.takes_seconds)
            except asyncio.CancelledError:
                self.told.append("left alone while ending")
                raise
            self.told.append("ended")
            raise
        return "done"


async def ended(bench: Bench) -> Ending:
    return await asyncio.wait_for(bench.endings.get(), 5)


async def begun(bench: Bench, outside: Outside, **options: Any) -> Assignment:
    assignment = bench.begin(outside.handle, survives=True, **options)
    await asyncio.wait_for(outside.began.wait(), 5)
    return assignment


async def test_a_replica_that_stops_hands_over_what_survives_it(bench: Bench) -> None:
    outside = Outside()
    await begun(bench, outside)
    bench.runner.stop_attempts(DRAINED)
    ending = await ended(bench)
    assert (ending.state, ending.reason, ending.abandoned) == (State.PENDING, Reason.HANDED_OVER, False)
    assert outside.told == ["left alone"]


async def test_only_what_survives_is_handed_over_when_a_drain_begins(bench: Bench) -> None:
    async def handle(_execution: Execution, _payload: Any) -> str:
        await asyncio.sleep(0.2)
        return "finished"

    outside = Outside()
    await begun(bench, outside)
    bench.begin(handle)
    bench.runner.hand_over(DRAINED)
    states = {(await ended(bench)).state, (await ended(bench)).state}
    assert states == {State.PENDING, State.SUCCEEDED}


async def test_a_cancelled_attempt_ends_when_its_work_has_ended_however_long_that_takes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduledjobs.handlers.runner.CANCEL_SECONDS", 0.05)
    outside = Outside()
    outside.takes_seconds = 0.15
    assignment = await begun(bench, outside)
    bench.runner.stop_attempt(*assignment.key, CANCELLED)
    ending = await ended(bench)
    assert (ending.state, ending.reason, ending.abandoned) == (State.CANCELLED, Reason.CANCEL_REQUESTED, False)
    assert outside.told == ["ending", "ended"]


async def test_a_replica_that_stops_does_not_wait_for_an_end_under_way(bench: Bench) -> None:
    outside = Outside()
    outside.takes_seconds = 60
    assignment = await begun(bench, outside)
    bench.runner.stop_attempt(*assignment.key, CANCELLED)
    await asyncio.wait_for(outside.ending.wait(), 5)
    bench.runner.stop_attempts(DRAINED)
    assert (await ended(bench)).reason == Reason.HANDED_OVER
    assert outside.told == ["ending", "left alone while ending"]


async def test_what_was_cancelled_while_nobody_watched_begins_only_to_be_ended(bench: Bench) -> None:
    outside = Outside()
    await begun(bench, outside, stop=CANCELLED, started_at=NOON - timedelta(minutes=1))
    assert (await ended(bench)).state is State.CANCELLED
    assert outside.told == ["ended at once"]


async def test_an_attempt_that_was_handed_over_has_the_rest_of_its_timeout(bench: Bench) -> None:
    outside = Outside()
    await begun(bench, outside, timeout=60, started_at=NOON - timedelta(seconds=59.9))
    ending = await ended(bench)
    assert (ending.state, outside.told) == (State.TIMED_OUT, ["ending", "ended"])
    took = ending.finished_at - ending.started_at
    assert timedelta(seconds=60) <= took < timedelta(seconds=65)


async def test_what_an_attempt_notes_is_told_once_and_again_where_it_could_not_be_written(bench: Bench) -> None:
    outside = Outside()
    assignment = await begun(bench, outside)
    ((noted, value, again),) = bench.runner.notes()
    assert (noted, value) == (assignment, b'{"work":7}')
    assert bench.runner.notes() == []
    again()
    assert [value for _, value, _ in bench.runner.notes()] == [b'{"work":7}']


async def test_what_is_handed_over_takes_with_it_what_it_noted_last(bench: Bench) -> None:
    outside = Outside()
    await begun(bench, outside)
    bench.runner.stop_attempts(DRAINED)
    assert (await ended(bench)).result == b'{"work":7}'


async def test_what_is_handed_over_and_has_noted_nothing_takes_nothing_with_it(bench: Bench) -> None:
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def handle(_execution: Execution, _payload: Any) -> None:
        loop.call_soon_threadsafe(started.set)
        await asyncio.sleep(60)

    bench.begin(handle, survives=True)
    await asyncio.wait_for(started.wait(), 5)
    bench.runner.stop_attempts(DRAINED)
    assert (await ended(bench)).result is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (object(), []),
        ("\ud800", []),
        ({"text": "a\0b"}, [b'{"text":"ab"}']),
        (NOON, [b'"2026-11-23T12:00:00+00:00"']),
        ({"token": "hunter2-hunter2"}, [b'{"token":"***"}']),
    ],
)
async def test_a_note_is_kept_as_a_result_would_be_and_one_that_cannot_be_holds_no_other_back(
    bench: Bench, value: Any, expected: list[bytes]
) -> None:
    async def handle(execution: Execution, _payload: Any) -> None:
        hide("hunter2-hunter2")
        execution.note.set(value)
        noted.set()
        await asyncio.sleep(60)

    noted = threading.Event()
    bench.begin(handle, survives=True)
    outside = Outside()
    await begun(bench, outside)
    assert await asyncio.to_thread(noted.wait, 5)
    assert [value for _, value, _ in bench.runner.notes()] == [*expected, b'{"work":7}']


async def test_a_long_note_is_cut_as_a_result_is(bench: Bench) -> None:
    async def handle(execution: Execution, _payload: Any) -> None:
        execution.note.set("x" * 100_000)
        noted.set()
        await asyncio.sleep(60)

    noted = threading.Event()
    bench.begin(handle, survives=True)
    assert await asyncio.to_thread(noted.wait, 5)
    ((_, note, _),) = bench.runner.notes()
    assert len(note) <= MOST_RESULT


def test_work_of_a_handler_of_ours_survives_a_leader_that_has_not_got_it() -> None:
    @handler("own", survives=True)
    async def own(_execution: Execution, _payload: Any) -> None: ...

    @handler("other")
    async def other(_execution: Execution, _payload: Any) -> None: ...

    registry = Registry([each.__scheduledjobs_handler__ for each in (own, other)])  # type: ignore[attr-defined]
    assert registry.surviving() == {"own", "kubernetes-job"}


async def test_what_another_replica_noted_is_given_to_who_goes_on(bench: Bench) -> None:
    async def handle(execution: Execution, _payload: Any) -> Any:
        return execution.noted

    assert (await bench.run(handle, survives=True, noted={"work": 7}, started_at=NOON)).result == b'{"work":7}'


class Narrow(BaseModel):
    """A payload as an older or a newer version of a handler reads it."""

    number: int


UNREADABLE: dict[str, dict[str, Any]] = {
    "its version": {"refusal": "version 1 of the spec cannot be read by this replica: no", "payload": {}},
    "its payload": {"payload": {"number": "a-secret"}},
}


@pytest.mark.parametrize("stop", [None, CANCELLED], ids=["to go on", "to be ended"])
@pytest.mark.parametrize("what", UNREADABLE)
async def test_what_was_handed_over_and_cannot_be_read_here_is_left_to_a_replica_that_can_read_it(
    bench: Bench, what: str, stop: Stop | None
) -> None:
    outside = Outside()
    bench.registry.add(Handler("outside", outside.handle, Narrow, is_async=True, survives=True))
    options = {"started_at": NOON - timedelta(minutes=1), "noted": {"work": 7}, "stop": stop, **UNREADABLE[what]}
    bench.runner.submit([assigned(1, "outside", **options)])
    ending = await ended(bench)
    assert (ending.state, ending.reason, outside.told) == (State.PENDING, Reason.HANDED_OVER, [])
    assert ending.retry_after == timedelta(seconds=30)  # or this replica would claim it again at once, for ever
    assert ending.result is None  # what was noted stays
    assert (ending.message or "").startswith("its work goes on, for a replica that can watch it: ")
    assert ("version 1 of the spec" in str(ending.message)) == (what == "its version")
    assert ("spec.payload.number" in str(ending.message)) == (what == "its payload")
    assert "a-secret" not in f"{ending.message}{ending.output}{ending.traceback}"
    assert bench.runner.free_slots == 4


async def test_who_goes_on_logs_after_what_was_logged_before(bench: Bench) -> None:
    async def handle(execution: Execution, _payload: Any) -> None:
        execution.logger.info("two")

    ending = await bench.run(handle, survives=True, logged=("one", False), started_at=NOON)
    first, second = ending.output.split("\n")
    assert (first, second[-8:], ending.output_truncated) == ("one", "INFO two", False)


def test_what_was_logged_before_is_no_news_and_counts_for_the_bound() -> None:
    full = Output(("\n".join(["x" * 1023] * 64), False))
    assert (full.news(), len(full.text()), full.is_truncated) == (None, MOST_OUTPUT - 1, False)
    full.add("more")
    assert len(full.text()) == 63 * 1024 + 4
    assert full.is_truncated
    cut = Output(("one", True))
    cut.add("two")
    assert (cut.news(), cut.is_truncated) == ("one\ntwo", True)


async def test_what_became_of_the_work_counts_more_than_a_stop_that_came_too_late(bench: Bench) -> None:
    async def handle(_execution: Execution, _payload: Any) -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "it had ended well"
        return ""

    ending = await bench.run(handle, survives=True, timeout=0.05)
    assert (ending.state, ending.result) == (State.SUCCEEDED, b'"it had ended well"')


async def test_a_failure_elsewhere_has_a_result_and_no_traceback(bench: Bench) -> None:
    async def handle(_execution: Execution, _payload: Any) -> None:
        raise Failed("exit code 3", {"exitCode": 3})

    ending = await bench.run(handle)
    assert (ending.state, ending.reason, ending.message) == (State.FAILED, Reason.ERROR, "exit code 3")
    assert (ending.result, ending.traceback, ending.output) == (b'{"exitCode":3}', None, "")


def test_a_handler_that_survives_is_async() -> None:
    with pytest.raises(TypeError, match="must be async"):

        @handler("blocking", survives=True)
        def blocking(_execution: Execution, _payload: Any) -> None: ...
