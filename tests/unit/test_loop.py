"""The one loop, the clock, the pulse."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY

from scheduledjobs.errors import StoreUnavailable, TermLost
from scheduledjobs.steps.clock import Clock
from scheduledjobs.steps.loop import GRID_SECONDS, Loops, keep, together
from scheduledjobs.web.health import Pulse


async def run_until(count: int, failing: Exception, seconds: float = 0.0, **settings: Any) -> int:
    """Keep a step that fails each time, without the pauses between, until it was called `count` times.

    Each takes so many seconds of a clock of its own.
    """
    calls, done = 0, asyncio.Event()

    async def at_once(_seconds: float, _wake: Any) -> None:
        await asyncio.sleep(0)

    async def step() -> None:
        nonlocal calls
        calls += 1
        if calls >= count:
            done.set()
        raise failing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scheduledjobs.steps.loop.pause", at_once)
        ticking = {"monotonic": lambda: 1e6 + calls * seconds, **settings}
        task = asyncio.create_task(keep("test", step, every_seconds=60, **ticking))
        await asyncio.wait_for(done.wait(), 5)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return calls


@pytest.mark.parametrize("error", [StoreUnavailable("no connection"), ZeroDivisionError("a defect")])
async def test_a_step_that_fails_is_tried_again(error: Exception) -> None:
    with structlog.testing.capture_logs() as logs:
        assert await run_until(3, error) >= 3
    assert [log["failures"] for log in logs][:2] == [1, 2]


async def test_a_step_that_fails_for_hours_is_in_the_log_of_the_last_minutes() -> None:
    """Whoever is called reads the last ten minutes: said at powers of two alone there would be nothing in them."""
    with structlog.testing.capture_logs() as logs:
        await run_until(7200, StoreUnavailable("no connection"), 1.0)
    said = [log["failures"] for log in logs]
    assert said[:9] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert max(later - sooner for sooner, later in pairwise(said)) <= 300
    assert len(said) < 40


async def test_a_step_that_fails_for_hours_is_tried_again() -> None:
    """At the 1,024th failure in a row the wait was too large a number, which ended the loop, and the leader's term."""
    assert await run_until(1100, StoreUnavailable("no connection")) >= 1100


@pytest.mark.parametrize(("settings", "longest"), [({}, 1.0), ({"longest_wait": 30.0}, 30.0)])
async def test_a_step_that_fails_again_and_again_waits_for_longer_up_to_what_it_may(
    settings: dict[str, float], longest: float
) -> None:
    told: list[float] = []
    await run_until(12, StoreUnavailable("no"), tick=lambda _, wait: told.append(wait), patience=0.0, **settings)
    waits = told[1:12]
    assert waits == [min(0.1 * 2**failures, longest) for failures in range(1, 12)]
    assert waits[-1] == longest


async def test_each_pass_that_fails_is_counted_by_its_step() -> None:
    before = REGISTRY.get_sample_value("scheduledjobs_step_failures_total", {"step": "test"}) or 0
    calls = await run_until(3, StoreUnavailable("no connection"))
    assert REGISTRY.get_sample_value("scheduledjobs_step_failures_total", {"step": "test"}) == before + calls


async def test_a_lost_term_ends_the_loop() -> None:
    async def step() -> None:
        raise TermLost("over")

    with pytest.raises(TermLost):
        await asyncio.wait_for(keep("test", step, every_seconds=60), 5)


async def test_a_wake_up_cuts_the_wait_short() -> None:
    calls, wake = [], asyncio.Event()

    async def step() -> None:
        calls.append(1)

    task = asyncio.create_task(keep("test", step, every_seconds=60, wake=wake))
    while len(calls) < 3:
        wake.set()
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("now", [1000.0, 1000.1, 1000.13, 1000.9])
def test_loops_of_upkeep_wake_together_and_not_at_whole_seconds(now: float) -> None:
    waits = [together(seconds, now) for seconds in (0.5, 1.0, 5.0)]
    assert waits == pytest.approx([0.5, 1.0, 5.0], abs=GRID_SECONDS / 2)
    assert [(now + wait) % GRID_SECONDS for wait in waits] == pytest.approx([GRID_SECONDS / 2] * 3)


def test_a_loop_that_is_quick_keeps_its_pace() -> None:
    assert together(0.25, 1000.1) == 0.25


def test_the_clock_is_never_ahead_of_the_best_sample() -> None:
    now = 100.0
    clock = Clock(lambda: now)
    clock.sample(1000.0)
    clock.sample(999.9)  # an answer that took longer to come
    assert clock.now() == 1000.0
    now = 101.0
    assert clock.now() == 1001.0
    assert clock.seconds_until(1003.0) == 2.0


def test_a_step_of_the_database_clock_is_noticed_and_followed() -> None:
    clock = Clock(lambda: 100.0)
    assert not clock.sample(1000.0)
    assert clock.sample(4600.0)
    assert clock.now() == 4600.0
    assert clock.sample(1000.0)
    assert clock.now() == 1000.0


def test_a_clock_that_was_set_back_by_less_than_a_step_is_followed_as_soon_as_an_answer_proves_it() -> None:
    now = 100.0
    clock = Clock(lambda: now)
    clock.sample(1000.0)
    now = 101.0
    assert not clock.sample(1000.6, asked_at=100.5)  # the answer took long: it was 1000.5, which is no proof
    assert clock.now() == 1001.0
    now = 102.0
    assert not clock.sample(1000.5, asked_at=101.9)
    assert clock.now() == 1000.5
    assert clock.steps == 0


def test_a_correction_leaves_a_step_to_those_who_tell_of_it() -> None:
    clock = Clock(lambda: 100.0)
    clock.sample(1000.0)
    assert not clock.correct(900.0, 100.0)
    assert clock.sample(900.0, 100.0)
    assert clock.now() == 900.0


def test_a_loop_that_stands_still_is_named() -> None:
    now = 0.0
    pulse = Pulse(lambda: now)
    pulse.tick("fire", 61.0)
    pulse.tick("claim", 61.0)
    now = 62.0
    pulse.tick("claim", 61.0)
    assert pulse.stalled() == ["fire"]
    pulse.forget("fire")
    assert pulse.stalled() == []


class Pulsing:
    """A loop whose pulse is watched, its clock in the test's hand."""

    def __init__(self, step: Any, **settings: Any) -> None:
        self.now = 0.0
        self.pulse = Pulse(lambda: self.now)
        self.ticks: asyncio.Queue[float] = asyncio.Queue()
        self.task = asyncio.create_task(keep("prune", step, every_seconds=600, tick=self._tick, **settings))

    def _tick(self, name: str, seconds: float) -> None:
        self.pulse.tick(name, seconds)
        self.ticks.put_nowait(seconds)

    async def __aenter__(self) -> Pulsing:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


async def test_a_loop_that_comes_round_every_ten_minutes_does_not_stand_still_between() -> None:
    async def step() -> None:
        pass

    async with Pulsing(step) as loop:
        assert await asyncio.wait_for(loop.ticks.get(), 5) == 60.0
        assert await asyncio.wait_for(loop.ticks.get(), 5) == pytest.approx(660, abs=GRID_SECONDS)
        loop.now = 659.0
        assert loop.pulse.stalled() == []
        loop.now = 661.0
        assert loop.pulse.stalled() == ["prune"]


async def test_a_loop_whose_first_pass_hangs_stands_still() -> None:
    async with Pulsing(asyncio.Event().wait) as loop:
        await asyncio.wait_for(loop.ticks.get(), 5)
        loop.now = 61.0
        assert loop.pulse.stalled() == ["prune"]


async def test_a_pass_that_may_take_long_does_not_count_as_standing_still() -> None:
    async with Pulsing(asyncio.Event().wait, patience=1800) as loop:
        await asyncio.wait_for(loop.ticks.get(), 5)
        loop.now = 1799.0
        assert loop.pulse.stalled() == []


@pytest.mark.parametrize("end", ["cancelled", "raised", "returned"])
async def test_a_loop_that_ends_is_begun_again_and_that_is_said(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduledjobs.steps.loop.AGAIN_SECONDS", 0.0)
    begun: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue()
    ends = [end]

    async def run() -> None:
        begun.put_nowait(asyncio.current_task())
        how = ends.pop() if ends else None
        if how == "raised":
            raise MemoryError
        if how != "returned":
            await asyncio.Event().wait()

    loops = Loops()
    with structlog.testing.capture_logs() as logs:
        loops.start("fire", run)
        first = await asyncio.wait_for(begun.get(), 5)
        if end == "cancelled":
            assert first is not None
            first.cancel()
        second = await asyncio.wait_for(begun.get(), 5)
    assert second is not first
    assert [(log["event"], log["step"]) for log in logs] == [("a loop has ended: it is begun again", "fire")]
    await loops.end()
    assert second is not None
    assert second.cancelled()
