"""Mounting: the pages join the site: routes, static files, and how templates and errors are drawn."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import PurePosixPath

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import RedirectResponse, Response

from scheduledjobs.web.problems import problem
from scheduledjobs.web.ui import actions, edit, execution, job, jobs, overview, places
from scheduledjobs.web.ui.page import visit
from scheduledjobs.web.ui.render import FILES, TYPES, problem_page, render

router = APIRouter(prefix="/ui", include_in_schema=False)
FOR_GOOD = {"Cache-Control": "public, max-age=31536000, immutable"}


@router.get("", name="bare")
async def bare() -> Response:
    """Send /ui on to the overview."""
    return RedirectResponse("/ui/", 307)


@router.get("/static/{tag}/{name}", name="static")
async def static(name: str) -> Response:
    """Return a static file; nobody need sign in for it."""
    if name not in FILES:
        raise problem(HTTPStatus.NOT_FOUND, "There is no such file.", reason="NotFound")
    return Response(FILES[name], media_type=TYPES[PurePosixPath(name).suffix], headers=FOR_GOOD)


@router.get("/help", name="help")
async def keys(request: Request) -> Response:
    """Show the keys, the states and where to read on."""
    await visit(request)
    return await render(request, "help.html", page="help")


def mount(app: FastAPI) -> None:
    """Add the pages to the app; `app.state.render` draws a template, `app.state.problem_page` an error."""
    app.state.render = render
    app.state.problem_page = problem_page
    app.include_router(router)
    for each in (overview, jobs, actions, edit, job, execution, places):
        app.include_router(each.router)
