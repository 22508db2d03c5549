"""What the jobs of benchmarks run: nothing, so that only the scheduler is measured."""

from __future__ import annotations

from scheduledjobs.handlers import Execution, handler


@handler("noop")
async def noop(execution: Execution, payload: object) -> None:
    """Do nothing."""
