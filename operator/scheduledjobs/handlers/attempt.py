"""An attempt while it runs: what the handlers' loop keeps of it, and what its handler is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import BaseModel

from scheduledjobs.core.reasons import Reason
from scheduledjobs.core.result import NotJson, encode_result
from scheduledjobs.errors import SpecError
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
    output: Output
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


class CannotGoOn(Exception):
    """What was handed over cannot be read here, and its work goes on outside: it is for another replica to watch."""


def payload_of(handler: Handler, assignment: Assignment) -> BaseModel:
    """Return what the handler is called with; `SpecError` where that cannot be, `CannotGoOn` where it was handed over.

    To end it for that would leave what it began running, with nobody to watch or to end it, and the next run beside it.
    """
    try:
        return _read(handler, assignment)
    except SpecError as error:
        if assignment.started_at is None:
            raise
        raise CannotGoOn(f"its work goes on, for a replica that can watch it: {error.message}") from error


def _read(handler: Handler, assignment: Assignment) -> BaseModel:
    if assignment.refusal is not None:
        raise SpecError(Reason.INVALID_SPEC, assignment.refusal)
    if assignment.started_at is None:
        return handler.check_payload(assignment.payload, assignment.namespace)
    # It was checked before it was begun, and what it began is not to be forgotten for a check of today.
    return handler.read_payload(assignment.payload)


def outcome(function: Callable[..., Any], *args: Any) -> tuple[Any, BaseException | None]:
    """Return what a function returns, and what it raises: no future of asyncio can hold StopIteration."""
    try:
        return function(*args), None
    except BaseException as error:  # noqa: BLE001 it is raised again where it is waited for
        return None, error
