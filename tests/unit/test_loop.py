"""The one loop, the clock, the pulse."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
import structlog

from scheduledjobs.errors import StoreUnavailable, TermLost
from scheduledjobs.steps.clock import Clock
from scheduledjobs.steps.loop import keep
from scheduledjobs.web.health import Pulse


async def run_until(count: int, failing: Exception) -> int:
    """Keep a step that fails each time, until it was called `count` times."""
    calls, done = 0, asyncio.Event()

    async def step() -> None:
        nonlocal calls
        calls += 1
        if calls >= count:
            done.set()
        raise failing

    task = asyncio.create_task(keep("test", step, every_seconds=60))
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


def test_a_loop_that_stands_still_is_named() -> None:
    now = 0.0
    pulse = Pulse(lambda: now)
    pulse.tick("fire", 1.0)
    pulse.tick("claim", 1.0)
    now = 62.0
    pulse.tick("claim", 1.0)
    assert pulse.stalled() == ["fire"]
    pulse.forget("fire")
    assert pulse.stalled() == []


async def test_a_loop_that_comes_round_every_ten_minutes_does_not_stand_still_between() -> None:
    now, ticked = 0.0, asyncio.Event()
    pulse = Pulse(lambda: now)

    def tick(name: str, seconds: float) -> None:
        pulse.tick(name, seconds)
        ticked.set()

    async def step() -> None:
        pass

    task = asyncio.create_task(keep("prune", step, every_seconds=600, tick=tick))
    await asyncio.wait_for(ticked.wait(), 5)
    now = 660.0
    assert pulse.stalled() == []
    now = 661.0
    assert pulse.stalled() == ["prune"]
    task.cancel()
