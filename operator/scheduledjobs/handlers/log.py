"""The built-in handler `log`: logs a message. For trying schedules out, and for tests of everything around handlers."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel, ConfigDict, Field

from scheduledjobs.handlers.execution import Execution
from scheduledjobs.handlers.registry import handler


class LogPayload(BaseModel):
    """What to log, how long to take, and whether to fail."""

    model_config = ConfigDict(extra="forbid")

    message: str = Field(default="", max_length=4096, description="The line to log")
    seconds: float = Field(default=0, ge=0, le=86_400, description="How long to take")
    fail: str | None = Field(default=None, max_length=512, description="Fail with this error")


class LogError(Exception):
    """The failure that the payload asked for."""


@handler("log", payload=LogPayload)
async def log(execution: Execution, payload: LogPayload) -> dict[str, str] | None:
    """Log the message, take the time, and fail if told to."""
    if payload.message:
        execution.logger.info("%s", payload.message)
    if payload.seconds:
        await asyncio.sleep(payload.seconds)
    if payload.fail is not None:
        raise LogError(payload.fail)
    return None
