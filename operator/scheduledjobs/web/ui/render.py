"""Render: templates to pages. Autoescape is on, undefined names are errors, and nothing is inline."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from scheduledjobs.web.auth import to_login
from scheduledjobs.web.problems import ProblemError
from scheduledjobs.web.ui import charts, page
from scheduledjobs.web.ui.text import FILTERS

HERE = Path(__file__).parent
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
GITOPS = frozenset({"Helm", "Argo CD", "Flux"})
"""Tools that write a resource again after a person has."""

FILES = {path.name: path.read_bytes() for path in sorted((HERE / "static").iterdir()) if path.suffix in TYPES}
"""The static files, read once: a few kilobytes each."""

TAG = sha256(b"".join(FILES.values())).hexdigest()[:10]


def _static(name: str) -> str:
    """Return the address of a static file; it changes with any of them, so browsers may keep it for good."""
    assert name in FILES, name  # noqa: S101 a fault of a template
    return f"{page.UI}static/{TAG}/{name}"


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(FILTERS)
    made.globals.update(static=_static, charts=charts, job_href=page.href, link=page.link, gitops=GITOPS)
    return made


ENVIRONMENT = _environment()


def compile_all() -> None:
    """Compile every template, so that nobody who looks at a page first waits for it."""
    for name in ENVIRONMENT.list_templates():
        ENVIRONMENT.get_template(name)


async def render(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    """Return a template as a page; every one knows who looks, the time, and what the last action came to."""
    told = page.flashes(request)
    caller = getattr(request.state, "caller", None)
    known = {
        "page": "",
        "poll": False,
        "now": datetime.now(UTC),
        "caller": caller,
        "stale_since": request.app.state.auth.stale_since(caller) if caller else None,
        "flashes": told,
        "etag": getattr(request.state, "etag", None),
        "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        "problem": None,
    }
    text = ENVIRONMENT.get_template(template).render(known | context)
    answer = Response(text, status, media_type="text/html")
    if told:
        answer.delete_cookie(page.FLASH, path=page.UI)
    return answer


async def problem_page(request: Request, problem: ProblemError) -> Response:
    """Return an error as a page; who has not signed in is sent to do so, and comes back."""
    if problem.status == HTTPStatus.UNAUTHORIZED:
        return to_login(request)
    request.state.etag = None  # of the page that failed: asked with it, the poll would find nothing changed
    answer = await render(
        request, "problem.html", problem.status, problem=problem, poll=problem.status == HTTPStatus.SERVICE_UNAVAILABLE
    )
    answer.headers.update(problem.headers)
    return answer
