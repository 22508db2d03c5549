"""How late the event loop wakes."""

from __future__ import annotations

import pytest

from scheduledjobs.steps.lag import EVERY_SECONDS, Lag


class Timer:
    """A lag whose clock is the test's."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lag = Lag(lambda: self.now)

    async def pass_after(self, seconds: float) -> None:
        self.now += seconds
        await self.lag.step()


async def test_the_worst_lateness_is_told_once() -> None:
    timer = Timer()
    for seconds in (7.0, EVERY_SECONDS, EVERY_SECONDS + 0.25, EVERY_SECONDS + 0.05):
        await timer.pass_after(seconds)
    assert timer.lag.take_ms() == pytest.approx(250)
    assert timer.lag.take_ms() == 0


async def test_a_lateness_that_is_not_over_yet_is_told() -> None:
    timer = Timer()
    await timer.pass_after(0)
    timer.now += EVERY_SECONDS + 3
    assert timer.lag.take_ms() == pytest.approx(3000)


def test_nothing_is_late_before_the_first_pass() -> None:
    assert Timer().lag.take_ms() == 0
