"""The one loop: call a step, wait for its next turn, and carry on when it fails.

A step that fails because Postgres or the API server is away is tried again within a second; one that fails for a
reason nobody foresaw is logged with its traceback and tried again too, so that one defect does not end scheduling.
`TermLost` alone is passed on: whoever runs the steps of a term must end it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from scheduledjobs.errors import KubeError, StoreError, TermLost

log = structlog.get_logger(__name__)

Step = Callable[[], Awaitable[float | None]]
"""One pass; it returns the seconds until its next one is due by itself, or None for the loop's own interval."""

LONGEST_WAIT_SECONDS = 1.0


async def keep(
    name: str,
    step: Step,
    *,
    every_seconds: float,
    wake: asyncio.Event | None = None,
    tick: Callable[[str, float], None] = lambda _name, _seconds: None,
) -> None:
    """Run `step` again and again until cancelled: when its time has come, or `wake` is set.

    `tick(name, seconds)` is called after each pass, failed or not: it says that the loop itself is alive, and when it
    will come round again.
    """
    failures = 0
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
            wait = min(0.1 * 2**failures, LONGEST_WAIT_SECONDS)
            if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, 8th...: an outage must not fill the log
                report_failure(name, error, failures)
        wait = every_seconds if wait is None else wait
        tick(name, wait)
        await pause(wait, wake if failures == 0 else None)


def report_failure(step: str, error: Exception, failures: int) -> None:
    """Log a failed pass: in one line where the cause is known, with its traceback where it is not."""
    if isinstance(error, StoreError | KubeError):
        log.warning("step failed", step=step, error=str(error), failures=failures)
    else:
        log.error("step failed for a reason unforeseen", step=step, exc_info=error, failures=failures)


async def pause(seconds: float, wake: asyncio.Event | None) -> None:
    """Wait so long, or until `wake` is set."""
    if wake is None:
        await asyncio.sleep(seconds)
    elif seconds > 0:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await wake.wait()
    else:
        await asyncio.sleep(0)
