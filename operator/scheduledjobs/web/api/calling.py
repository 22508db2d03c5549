"""What every route takes: who calls, what may be seen, and where questions and actions go."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request

from scheduledjobs.kube.caller import Caller
from scheduledjobs.web.auth import Auth
from scheduledjobs.web.cursor import BIGGEST_ID
from scheduledjobs.web.reads import Reads, Scope
from scheduledjobs.web.writes import Writes


async def _caller(request: Request) -> Caller:
    auth: Auth = request.app.state.auth
    return await auth.caller(request)


async def _writer(request: Request) -> Caller:
    auth: Auth = request.app.state.auth
    caller = await auth.caller(request)
    await auth.check_origin(request)
    return caller


async def _scope(request: Request, caller: Annotated[Caller, Depends(_caller)]) -> Scope:
    auth: Auth = request.app.state.auth
    return await auth.scope(caller)


def _reads(request: Request) -> Reads:
    found: Reads = request.app.state.reads
    return found


def _writes(request: Request) -> Writes:
    found: Writes = request.app.state.writes
    return found


Reader = Annotated[Caller, Depends(_caller)]
Writer = Annotated[Caller, Depends(_writer)]
Seen = Annotated[Scope, Depends(_scope)]
Questions = Annotated[Reads, Depends(_reads)]
Actions = Annotated[Writes, Depends(_writes)]
JobId = Annotated[
    str, Path(min_length=1, max_length=130, description="The job's uid, or namespace.name", examples=["default.hello"])
]
ExecutionId = Annotated[int, Path(ge=1, le=BIGGEST_ID, description="Column id of job_execution_log")]
