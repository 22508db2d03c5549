"""Execution: one run from the moment it was due to its end, with all that it left."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from scheduledjobs.core.reasons import LIVE_STATES
from scheduledjobs.web.problems import problem
from scheduledjobs.web.ui.page import conditional, new_token, visit
from scheduledjobs.web.ui.render import render

router = APIRouter(prefix="/ui", include_in_schema=False)
OUTPUT_SECONDS = 2.0


@router.get("/executions/{id}", name="execution")
async def execution(request: Request) -> Response:
    """Show one execution; while it runs its output grows."""
    seen = await visit(request)

    async def make() -> Response:
        found = await request.app.state.reads.execution(seen.scope, execution_id(request))
        return await render(
            request,
            "execution.html",
            page="jobs",
            poll=True,
            run=found,
            is_live=found.state in LIVE_STATES,
            payload=pretty(found.payload),
            result=None if found.result is None else pretty(found.result),
            token=new_token(),
        )

    return await conditional(request, seen, make, OUTPUT_SECONDS)


def execution_id(request: Request) -> int:
    """Return the id in the address; 404 where it is not a number."""
    return read_id(request.path_params["id"])


def read_id(text: str) -> int:
    """Return the id of an execution; 404 where it is not a number."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise problem(404, "There is no such execution.", reason="NotFound")
    return int(text)


def pretty(value: Any) -> str:
    """Return a JSON value on lines of its own."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
