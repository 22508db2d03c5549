"""Job: its page, its history, its versions, why a moment became what it did, and its manifest.

A job has its page by name while it lives, and by uid for good.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from scheduledjobs.core.reasons import State, Trigger
from scheduledjobs.core.yaml_text import write_yaml
from scheduledjobs.core.zone import load_zone
from scheduledjobs.errors import SpecError
from scheduledjobs.web.filters import ExecutionFilters, VersionFilters
from scheduledjobs.web.problems import ProblemError
from scheduledjobs.web.ui import forms
from scheduledjobs.web.ui.jobs import asked
from scheduledjobs.web.ui.page import Visit, conditional, new_token, visit
from scheduledjobs.web.ui.render import render

router = APIRouter(prefix="/ui", include_in_schema=False)
HISTORY = ("trigger", "cursor")
MOST_VERSIONS = 20
Endpoint = Callable[[Request], Awaitable[Response]]


def job_route(to: APIRouter, suffix: str, *methods: str) -> Callable[[Endpoint], Endpoint]:
    """Serve a page of a job under both of its addresses: by uid first, as a name could never be one in a namespace."""

    def add(endpoint: Endpoint) -> Endpoint:
        for where in ("{uid:uuid}", "{namespace}/{name}"):
            to.add_api_route(f"/jobs/{where}{suffix}", endpoint, methods=list(methods or ("GET",)), response_model=None)
        return endpoint

    return add


def job_id(request: Request) -> str:
    """Return the id that reads and writes take: the uid, or namespace.name."""
    params = request.path_params
    return str(params["uid"]) if "uid" in params else f"{params['namespace']}.{params['name']}"


def page_of(template: str, *, poll: bool = True) -> Callable[[Callable[..., Awaitable[dict[str, Any]]]], Endpoint]:
    """Make a live page of a function that returns what its template shows; each has its token for "Run now"."""

    def wrap(show: Callable[..., Awaitable[dict[str, Any]]]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            seen = await visit(request)

            async def make() -> Response:
                context = {"token": new_token(), **await show(request, seen)}
                return await render(request, template, page="jobs", poll=poll, **context)

            return await conditional(request, seen, make)

        return endpoint

    return wrap


# The longer paths first: /jobs/{namespace}/{name} would take /jobs/{uid}/history
@job_route(router, "/history")
@page_of("history.html")
async def history(request: Request, seen: Visit) -> dict[str, Any]:
    """Show what became of the moments of a job."""
    reads, id = request.app.state.reads, job_id(request)  # noqa: A001
    moments = {name: _utc(request.query_params.get(name, "")) for name in ("since", "until")}
    states = [state for state in request.query_params.getlist("state") if state]
    filters = asked(ExecutionFilters, request, HISTORY, state=states, **{k: v for k, v in moments.items() if v})
    job = await reads.job(seen.scope, id)
    found = await reads.executions(seen.scope, str(job.id), filters)
    query = {name: request.query_params.get(name, "") for name in ("trigger", "since", "until", "cursor")}
    return {
        "job": job,
        "tab": "history",
        "found": found,
        "query": query | {"state": states},
        "states": [state.value for state in State],
        "triggers": [trigger.value for trigger in Trigger],
    }


def _utc(text: str) -> str:
    """Read what a date-time field sends, which has no offset, as UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return text
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).isoformat()


@job_route(router, "/versions")
@page_of("versions.html")
async def versions(request: Request, seen: Visit) -> dict[str, Any]:
    """Show what was in force when, and what each version changed."""
    filters = asked(VersionFilters, request, ("cursor",), limit=MOST_VERSIONS)
    job = await request.app.state.reads.job(seen.scope, job_id(request))
    found = await request.app.state.reads.versions(seen.scope, str(job.id), filters)
    return {"job": job, "tab": "versions", "found": found, "cursor": filters.cursor or "", "as_yaml": write_yaml}


@job_route(router, "/why")
@page_of("why.html", poll=False)
async def why(request: Request, seen: Visit) -> dict[str, Any]:
    """Tell what became of one moment, in the order in which it was decided."""
    job = await request.app.state.reads.job(seen.scope, job_id(request))
    text = request.query_params.get("at", "").strip()
    context: dict[str, Any] = {"job": job, "tab": "why", "at": text, "lines": [], "error": ""}
    if not text:
        return context
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return context | {"at": "", "error": f"must be a date and a time, such as {job.created_at:%Y-%m-%dT%H:%M}"}
    context["at"] = local_field(at, job.time_zone)
    try:
        found = await request.app.state.reads.why(seen.scope, str(job.id), at)
    except ProblemError as refused:
        return context | {"error": refused.detail}
    return context | {"lines": found.lines}


def local_field(at: datetime, zone: str) -> str:
    """Return a moment as a date-time field takes it, which has no offset: in the zone that its label names."""
    if at.tzinfo is not None:
        try:
            at = at.astimezone(load_zone(zone))
        except (SpecError, OverflowError):
            return ""
    return at.replace(tzinfo=None, microsecond=0).isoformat()


@job_route(router, "/yaml")
@page_of("yaml.html")
async def manifest(request: Request, seen: Visit) -> dict[str, Any]:
    """Show the manifest of a job."""
    job = await request.app.state.reads.job(seen.scope, job_id(request))
    return {"job": job, "tab": "yaml", "text": forms.manifest(job.namespace, job.name, job.spec)}


@job_route(router, "")
@page_of("job.html")
async def job(request: Request, seen: Visit) -> dict[str, Any]:
    """Show a job: when it fires, how it went, and what can be done."""
    found = await request.app.state.reads.job(seen.scope, job_id(request))
    drawn = await request.app.state.reads.charts(seen.scope, str(found.id))
    return {"job": found, "tab": "job", "drawn": drawn}
