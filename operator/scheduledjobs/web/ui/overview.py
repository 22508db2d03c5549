"""Overview: is all well? One page of numbers, what comes, and what fails."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from scheduledjobs.web.ui.page import conditional, visit
from scheduledjobs.web.ui.render import render

router = APIRouter(prefix="/ui", include_in_schema=False)


@router.get("/", name="overview")
async def overview(request: Request) -> Response:
    """Show whether all is well."""
    seen = await visit(request)

    async def make() -> Response:
        found = await request.app.state.reads.overview(seen.scope)
        return await render(request, "overview.html", page="overview", poll=True, view=found)

    return await conditional(request, seen, make)
