"""The site: REST at the root, pages under /ui/, and what is true of every answer."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scheduledjobs.web import problems
from scheduledjobs.web.api import jobs, others
from scheduledjobs.web.auth import login_router
from scheduledjobs.web.meter import Measured
from scheduledjobs.web.openapi import document

SAFE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SafeHeaders:
    """Every answer says what a browser may do with it, and that nobody keeps it unless it says otherwise."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add the headers to its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE.items():
                    headers[name] = value
                if message["status"] == HTTPStatus.METHOD_NOT_ALLOWED and (methods := allowed(scope)):
                    headers["Allow"] = methods
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)


async def _problem_page(request: Request, problem: problems.ProblemError) -> Response:
    found: Response = await request.app.state.problem_page(request, problem)
    return found


def allowed(scope: Scope) -> str:
    """Return the methods that a path of REST knows, if it is one: the router names those of the first route alone."""
    routes = (*jobs.router.routes, *others.router.routes)
    fitting = [route for route in routes if isinstance(route, APIRoute) and route.matches(scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for route in fitting for method in route.methods or ()}))


def build(*, reads: Any, writes: Any, auth: Any, hub: Any, mount: Callable[[FastAPI], None]) -> FastAPI:
    """Return the app; `mount(app)` adds the pages and `app.state.render`."""
    app = FastAPI(title="ScheduledJobs", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.reads, app.state.writes, app.state.auth, app.state.hub = reads, writes, auth, hub
    problems.install(app, _problem_page)
    app.add_middleware(SafeHeaders)
    app.add_middleware(Measured)
    app.include_router(jobs.router)
    app.include_router(others.router)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return Response(orjson.dumps(app.openapi()), media_type="application/json")

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("/ui/", 307)

    @app.get("/api/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        found: Response = await request.app.state.render(request, "api.html", document=app.openapi())
        return found

    app.include_router(login_router)
    mount(app)
    return app
