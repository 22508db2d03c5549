"""Jobs: the list with its filters in the address, and actions on several at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from scheduledjobs.core.reasons import JobState, State
from scheduledjobs.errors import ScheduledJobsError
from scheduledjobs.web.filters import JobFilters
from scheduledjobs.web.models import JobDetail
from scheduledjobs.web.problems import ProblemError, problem, problem_of
from scheduledjobs.web.ui.page import UI, Flash, Visit, acting, conditional, fields, go, new_token, visit
from scheduledjobs.web.ui.render import render

router = APIRouter(prefix="/ui", include_in_schema=False)

FILTERS = ("q", "namespace", "state", "handler", "outcome", "managedBy", "cursor")
DONE = {"run-now": "asked to run", "pause": "paused", "resume": "resumed"}
MOST_AT_ONCE = 200
Model = TypeVar("Model", bound=BaseModel)


def asked(model: type[Model], request: Request, names: tuple[str, ...], **more: Any) -> Model:
    """Return the filters of an address; RequestValidationError (422) for what cannot be asked."""
    given = {name: request.query_params[name] for name in names if request.query_params.get(name)}
    try:
        return model.model_validate(given | more)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        raise RequestValidationError([{**one, "loc": ("query", *one["loc"])} for one in found]) from None


@router.get("/jobs", name="jobs")
async def jobs(request: Request) -> Response:
    """Show a page of jobs."""
    seen = await visit(request)

    async def make() -> Response:
        filters = asked(JobFilters, request, FILTERS, recent=60)
        found = await request.app.state.reads.jobs(seen.scope, filters)
        query = {name: request.query_params.get(name, "") for name in FILTERS}
        return await render(
            request,
            "jobs.html",
            page="jobs",
            poll=True,
            found=found,
            query=query,
            is_filtered=any(value for name, value in query.items() if name != "cursor"),
            states=[state.value for state in JobState],
            outcomes=[state.value for state in State],
            token=new_token(),
        )

    return await conditional(request, seen, make)


@router.post("/jobs", name="bulk")
async def bulk(request: Request) -> Response:
    """Do one thing to several jobs; what came of each is said in words."""
    seen = await acting(request)
    form = await fields(request)
    action, ids = form.text("action"), form.all("id")
    back = back_to(form.text("back"), f"{UI}jobs")
    if action not in DONE:
        raise problem(422, "action: must be run-now, pause or resume.", reason="InvalidFields")
    if not ids:
        return go(back, Flash("No job was chosen: tick the boxes before their names.", "bad"))
    if len(ids) > MOST_AT_ONCE:
        return go(back, Flash(f"At most {MOST_AT_ONCE} jobs at once.", "bad"))
    done, refused = await _each(request, seen, action, ids, form.text("token") or None)
    told = [Flash(f"{DONE[action].capitalize()}: {', '.join(done)}.")] if done else []
    return go(back, *told, *(Flash(text, "bad") for text in refused))


async def _each(
    request: Request, seen: Visit, action: str, ids: list[str], token: str | None
) -> tuple[list[str], list[str]]:
    """Return the names of the jobs it was done to, and a sentence for each that refused."""
    writes = request.app.state.writes
    verbs: dict[str, Callable[[str], Awaitable[Any]]] = {
        "run-now": lambda id: writes.run_now(seen.caller, id, None, token),  # noqa: A006 the word of every signature
        "pause": lambda id: writes.pause(seen.caller, id, "forever", ""),  # noqa: A006
        "resume": lambda id: writes.resume(seen.caller, id),  # noqa: A006
    }
    done, refused = [], []
    for id in ids:  # noqa: A001
        name = id
        try:
            job = await request.app.state.reads.job(seen.scope, id)
            name = f"{job.namespace}/{job.name}"
            answer = await verbs[action](str(job.id))
            is_read = not isinstance(answer, JobDetail) or answer.is_mirrored
            done.append(name if is_read else f"{name} (the leader has not read it yet)")
        except (ProblemError, ScheduledJobsError) as error:
            refused.append(f"{name}: {problem_of(error).detail}")
    return done, refused


def back_to(path: str, otherwise: str) -> str:
    """Return a page of ours to go back to; never an address elsewhere."""
    return (
        path if path.startswith(UI) and "\\" not in path and not any(ord(char) < 0x21 for char in path) else otherwise
    )
