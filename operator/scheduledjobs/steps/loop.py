"""The one loop: call a step, wait for its next turn, and carry on when it fails.

A step that fails because Postgres or the API server is away is tried again within a second, unless its loop is told to
wait for longer; one that fails for a reason nobody foresaw is logged with its traceback and tried again too, so that
one defect does not end scheduling.
`TermLost` alone is passed on: whoever runs the steps of a term must end it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog

from scheduledjobs import metrics
from scheduledjobs.errors import KubeError, StoreError, TermLost

log = structlog.get_logger(__name__)

Step = Callable[[], Awaitable[float | None]]
"""One pass; it returns the seconds until its next one is due by itself, or None for the loop's own interval."""

LONGEST_WAIT_SECONDS = 1.0
MOST_DOUBLINGS = 10
PATIENCE_SECONDS = 60.0
"""How long a pass may take before its loop counts as standing still."""

SAID_SECONDS = 300.0
"""A pass that fails again and again is told of so often at least: who is called looks at the last minutes."""

AGAIN_SECONDS = 1.0
GRID_SECONDS = 0.25


async def keep(
    name: str,
    step: Step,
    *,
    every_seconds: float,
    wake: asyncio.Event | None = None,
    tick: Callable[[str, float], None] = lambda _name, _seconds: None,
    patience: float = PATIENCE_SECONDS,
    longest_wait: float = LONGEST_WAIT_SECONDS,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Run `step` again and again until cancelled: when its time has come, or `wake` is set.

    `tick(name, seconds)` is called at the start and after each pass, failed or not: it says that the loop is alive,
    and within how many seconds it will have said so again, `patience` of them for the pass itself. After a pass that
    failed the next one comes within `longest_wait` seconds, sooner after the first.
    """
    failures, said_at = 0, 0.0
    failed = metrics.STEP_FAILURES.labels(step=name)
    tick(name, patience)
    while True:
        if wake is not None:
            wake.clear()
        try:
            wait = await step()
            failures = 0
        except TermLost:
            raise
        except Exception as error:  # noqa: BLE001 one defect must not end scheduling
            failures += 1
            failed.inc()
            wait = min(0.1 * 2 ** min(failures, MOST_DOUBLINGS), longest_wait)
            # The 1st, 2nd, 4th, 8th...: an outage must not fill the log.
            if failures & (failures - 1) == 0 or monotonic() - said_at >= SAID_SECONDS:
                said_at = monotonic()
                report_failure(name, error, failures)
        wait = together(every_seconds, time.time()) if wait is None else wait
        tick(name, wait + patience)
        await pause(wait, wake if failures == 0 else None)


def report_failure(step: str, error: Exception, failures: int) -> None:
    """Log a failed pass: in one line where the cause is known, with its traceback where it is not."""
    if isinstance(error, StoreError | KubeError):
        log.warning("step failed", step=step, error=str(error), failures=failures)
    else:
        log.error("step failed for a reason unforeseen", step=step, exc_info=error, failures=failures)


def together(seconds: float, now: float) -> float:
    """Return about `seconds`, at unix time `now`: loops that wait for nothing in particular wake at the same moments.

    A waking costs more than most of them do in it. The moments lie off whole seconds, at which most jobs are due.
    """
    if seconds < 2 * GRID_SECONDS:
        return seconds
    return seconds + GRID_SECONDS / 2 - (now + seconds) % GRID_SECONDS


async def pause(seconds: float, wake: asyncio.Event | None) -> None:
    """Wait so long, or until `wake` is set."""
    if wake is None or seconds <= 0:
        await asyncio.sleep(seconds)
        return
    timer = asyncio.get_running_loop().call_later(seconds, wake.set)  # cheaper than a timeout, which cancels
    try:
        await wake.wait()
    finally:
        timer.cancel()


class Loops:
    """The loops of one replica by name; one that ends without being told to is begun again, and that is said."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin a loop, which is meant to go on until `end`."""
        task = self._tasks[name] = asyncio.create_task(run(), name=name)
        task.add_done_callback(lambda done: self._on_done(name, run, done))

    def _on_done(self, name: str, run: Callable[[], Coroutine[Any, Any, None]], done: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is not done:
            return  # it was told to end
        log.error(
            "a loop has ended: it is begun again", step=name, exc_info=None if done.cancelled() else done.exception()
        )
        asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._begin_again, name, run, done)

    def _begin_again(self, name: str, run: Callable[[], Coroutine[Any, Any, None]], done: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is done:
            self.start(name, run)

    async def end(self, *names: str) -> None:
        """End these loops, or all of them, one after the other."""
        for name in names or list(self._tasks):
            task = self._tasks.pop(name)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
