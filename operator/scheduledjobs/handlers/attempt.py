"""An attempt while it runs: what the handlers' loop keeps of it, and what its handler is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from scheduledjobs.core.result import NotJson, encode_result
from scheduledjobs.handlers.assignment import Assignment, Stop
from scheduledjobs.handlers.execution import Execution, Output
from scheduledjobs.handlers.registry import Handler

log = structlog.get_logger(__name__)


class NotBegun(asyncio.CancelledError):
    """Raised by a handler that was cancelled before it did anything: what it waited for, to be told with the stop."""


@dataclass(slots=True)
class Attempt:
    """An attempt under way; touched by the handlers' loop only."""

    assignment: Assignment
    execution: Execution
    handler: Handler | None
    started: float
    output: Output = field(default_factory=Output)
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    stop: Stop | None = None
    has_begun: bool = False
    has_ended: bool = False

    @property
    def survives(self) -> bool:
        """What it runs goes on without this process."""
        return self.handler is not None and self.handler.survives

    def encoded_note(self) -> bytes | None:
        """Return what it has noted, as a result would be: masked JSON of at most 16 KiB; None if that is none.

        What is no JSON value is dropped here and logged: in a batch it would keep the notes of all others back.
        """
        try:
            return encode_result(self.output.hidden.mask_result(self.execution.note.value))
        except NotJson:
            log.warning(
                "note is not a JSON value, and is dropped",
                namespace=self.assignment.namespace,
                job=self.assignment.job_name,
                execution_id=self.assignment.id,
                kind=type(self.execution.note.value).__name__,
            )
            return None


def execution_of(assignment: Assignment) -> Execution:
    """Return an assignment as its handler sees it."""
    timeout = assignment.timeout
    return Execution(
        namespace=assignment.namespace,
        job=assignment.job_name,
        job_id=assignment.job_id,
        fire_time=assignment.fire_time,
        attempt=assignment.attempt,
        trigger=assignment.trigger,
        run_key=assignment.run_key,
        deadline=None if timeout is None else (assignment.started_at or assignment.claimed_at) + timeout,
        missed_count=assignment.missed_count,
        first_missed_at=assignment.first_missed_at,
        id=assignment.id,
        claim_no=assignment.claim_no,
        replica=assignment.replica,
        timeout=timeout,
        noted=assignment.noted,
    )


def outcome(function: Callable[..., Any], *args: Any) -> tuple[Any, BaseException | None]:
    """Return what a function returns, and what it raises: no future of asyncio can hold StopIteration."""
    try:
        return function(*args), None
    except BaseException as error:  # noqa: BLE001 it is raised again where it is waited for
        return None, error
