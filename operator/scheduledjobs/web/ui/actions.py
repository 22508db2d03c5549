"""Actions: what a POST does to a job or an execution. Each has a page with its form, too, where a refusal is shown.

What was typed is kept; after a success the browser is sent on, so a reload repeats nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from scheduledjobs.core.reasons import LIVE_STATES, State
from scheduledjobs.core.zone import load_zone
from scheduledjobs.errors import ScheduledJobsError, SpecError
from scheduledjobs.web.models import JobDetail
from scheduledjobs.web.problems import ProblemError, problem, problem_of
from scheduledjobs.web.ui.execution import execution_id, pretty, read_id
from scheduledjobs.web.ui.forms import masks, moment_text
from scheduledjobs.web.ui.job import job_id, job_route
from scheduledjobs.web.ui.jobs import back_to
from scheduledjobs.web.ui.page import UI, Fields, Flash, Visit, acting, fields, go, href, new_token, unread, visit
from scheduledjobs.web.ui.render import render

router = APIRouter(prefix="/ui", include_in_schema=False)
REFUSED = (ProblemError, ScheduledJobsError)
UNANSWERED = 500
"""Problems from this status on do not say whether what was asked for was done."""

MORNING = time(8)


class _Wrong(Exception):
    """A field of the form cannot be read."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


async def _form_page(
    request: Request, template: str, job: JobDetail, status: int = 200, *, token: str = "", **more: Any
) -> Response:
    known = {"job": job, "page": "jobs", "errors": {}, "token": token or new_token()}
    return await render(request, template, status, **known | more)


def _action(template: str) -> Callable[[Callable[..., Awaitable[Response]]], Callable[[Request], Awaitable[Response]]]:
    """Make a POST of a function: what it refuses is shown on the page of the form, with what was typed."""

    def wrap(act: Callable[..., Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            seen = await acting(request)
            form = await fields(request)
            job: JobDetail = await request.app.state.reads.job(seen.scope, job_id(request))
            try:
                return await act(request, seen, job, form)
            except _Wrong as wrong:
                errors, token = {wrong.field: str(wrong)}, form.text("token")
                return await _form_page(request, template, job, 422, form=form, errors=errors, token=token)
            except REFUSED as error:
                found = problem_of(error)
                if found.status in (401, 500):
                    raise
                # What was not answered may have been carried out, and is not to be twice; what was refused was not.
                token = form.text("token") if found.status >= UNANSWERED else ""
                return await _form_page(request, template, job, found.status, form=form, problem=found, token=token)

        return endpoint

    return wrap


def _form(template: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        seen = await visit(request)
        job = await request.app.state.reads.job(seen.scope, job_id(request))
        return await _form_page(request, template, job, form=await _begun(request, seen, job))

    return endpoint


async def _begun(request: Request, seen: Visit, job: JobDetail) -> Fields:
    """Return the form with the payload of the execution that is to be run again. The address names that and no more:
    addresses are logged on their way, and have a length."""
    if "execution" not in request.query_params:
        return Fields([])
    found = await request.app.state.reads.execution(seen.scope, read_id(request.query_params["execution"]))
    if found.job_id != job.id:
        raise problem(404, "There is no such execution of this job.", reason="NotFound")
    return Fields([("payload", pretty(found.payload))])


for _name in ("run-now", "pause", "delete"):
    job_route(router, f"/{_name}")(_form(f"{_name}.html"))


@job_route(router, "/run-now", "POST")
@_action("run-now.html")
async def run_now(request: Request, seen: Visit, job: JobDetail, form: Fields) -> Response:
    """Run a job once, now; the token of the form makes it once, however often it is sent."""
    payload = read_payload(form.text("payload"))
    found = await request.app.state.writes.run_now(seen.caller, str(job.id), payload, form.text("token") or None)
    name = f"{job.namespace}/{job.name}"
    back = back_to(form.text("back"), href(job))
    if found.execution is None:
        return go(back, Flash(f"{name} is asked to run. It is recorded as soon as there is a leader."))
    where = f"{UI}executions/{found.execution.id}"
    return go(back, Flash(f"{name} runs now.", href=where, link="See the run"))


def read_payload(text: str) -> dict[str, Any] | None:
    """Return the payload that was typed; None for none."""
    if not text:
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _Wrong("payload", f"is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise _Wrong("payload", 'must be a JSON object, such as {"name": "value"}')
    if wrong := masks(found):
        raise _Wrong("payload", f"{wrong[0].field.removeprefix('spec.payload.')} {wrong[0].message}")
    return found


@job_route(router, "/pause", "POST")
@_action("pause.html")
async def pause(request: Request, seen: Visit, job: JobDetail, form: Fields) -> Response:
    """Pause a job until a moment, with a reason."""
    until = read_until(form, job.time_zone, datetime.now(UTC))
    found = await request.app.state.writes.pause(seen.caller, str(job.id), until, form.text("reason"))
    return go(back_to(form.text("back"), href(job)), Flash(f"{job.namespace}/{job.name} is paused.{unread(found)}"))


def read_until(form: Fields, zone: str, now: datetime) -> str:
    """Return the end of a pause, RFC 3339 or forever: one of the presets, or the date and time that was typed."""
    match form.text("for") or "forever":
        case "forever":
            return "forever"
        case "hour":
            return _rfc3339(now + timedelta(hours=1))
        case "morning":
            local = now.astimezone(_zone(zone)).date() + timedelta(days=1)
            return _rfc3339(datetime.combine(local, MORNING, _zone(zone)))
        case "until":
            return _typed(form.text("until"), zone)
        case _:
            raise _Wrong("until", "choose how long")


def _typed(text: str, zone: str) -> str:
    """Read a moment in the zone of the job, as Edit does: one that the clocks leave out there is refused."""
    try:
        return _rfc3339(datetime.fromisoformat(moment_text(text, _zone(zone).key)))
    except OverflowError:
        raise _Wrong("until", "must be a date and a time, such as 2026-12-24 18:00") from None
    except ValueError as error:
        raise _Wrong("until", str(error)) from None


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _zone(name: str) -> ZoneInfo:
    try:
        return load_zone(name)
    except SpecError:  # the job's own is invalid: it is not scheduled either
        return load_zone("Etc/UTC")


@job_route(router, "/resume", "POST")
@_action("pause.html")
async def resume(request: Request, seen: Visit, job: JobDetail, form: Fields) -> Response:
    """End the pause of a job."""
    found = await request.app.state.writes.resume(seen.caller, str(job.id))
    return go(back_to(form.text("back"), href(job)), Flash(f"{job.namespace}/{job.name} is resumed.{unread(found)}"))


@job_route(router, "/delete", "POST")
@_action("delete.html")
async def delete(request: Request, seen: Visit, job: JobDetail, form: Fields) -> Response:
    """Delete a job, if its name was typed."""
    if form.text("name") != job.name:
        raise _Wrong("name", f"must be the name of the job: {job.name}")
    await request.app.state.writes.delete(seen.caller, str(job.id))
    text = f"{job.namespace}/{job.name} is deleted. It fires no more; its history is kept."
    return go(f"{UI}jobs", Flash(text, href=f"{UI}jobs/{job.id}", link="See its history"))


@router.post("/executions/{id}/cancel", name="cancel")
async def cancel(request: Request) -> Response:
    """Cancel an execution that waits or runs."""
    seen = await acting(request)
    id = execution_id(request)  # noqa: A001
    back = f"{UI}executions/{id}"
    try:
        found = await request.app.state.writes.cancel(seen.caller, id)
    except REFUSED as error:
        return _told(error, back)
    if found.state is State.CANCELLED:
        return go(back, Flash("It is cancelled."))
    if found.state in LIVE_STATES:
        return go(back, Flash("It is asked to stop; a handler may take a moment."))
    return go(back, Flash(f"It is not cancelled: it ended before it was stopped, as {found.state}.", "bad"))


@router.post("/executions/{id}/again", name="again")
async def again(request: Request) -> Response:
    """Run the job of an execution once more, with the payload of its spec."""
    seen = await acting(request)
    form = await fields(request)
    before = await request.app.state.reads.execution(seen.scope, execution_id(request))
    back = f"{UI}executions/{before.id}"
    try:
        found = await request.app.state.writes.run_now(
            seen.caller, str(before.job_id), None, form.text("token") or None
        )
    except REFUSED as error:
        return _told(error, back)
    if found.execution is None:
        return go(back, Flash("It is asked to run. It is recorded as soon as there is a leader."))
    return go(f"{UI}executions/{found.execution.id}", Flash("It runs again: this is the new run."))


def _told(error: Exception, back: str) -> Response:
    """Say on the page before why it was refused."""
    found = problem_of(error)
    if found.status in (401, 500):
        raise error
    return go(back, Flash(found.detail, "bad"))
