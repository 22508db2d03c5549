"""New and edit: a form that is checked as one types, shown as the YAML that is applied, and saved as the caller.

A refusal keeps what was typed. Who saves over a version that they have not read is shown both, and asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from scheduledjobs.core.zone import zone_names
from scheduledjobs.errors import ScheduledJobsError
from scheduledjobs.store.queries import Row
from scheduledjobs.web.models import FieldError, Handler, JobDetail, NewJob, Preview
from scheduledjobs.web.preview import PreviewQuery, preview
from scheduledjobs.web.problems import ProblemError, problem_of
from scheduledjobs.web.ui.forms import KINDS, NESTED, PATHS, Form, by_field, differences, fill, manifest, read_spec
from scheduledjobs.web.ui.job import job_id, job_route
from scheduledjobs.web.ui.page import Flash, Visit, acting, fields, go, href, unread, visit
from scheduledjobs.web.ui.payload import PREFIX, PayloadField, fields_of, payload_fields, strange_fields, takes_others
from scheduledjobs.web.ui.render import render
from scheduledjobs.web.writes import etag

router = APIRouter(prefix="/ui", include_in_schema=False)

CONFLICTS = (409, 412)
LOOKS_AGAIN = 8
LOOK_SECONDS = 0.25
NOT_OURS = (401, 500)
LOOKS = ("typing", "live")
"""Nothing is asked but what the form says by now: by its button, or by the script as one types."""

BLANK = {"kind": "schedule", "timeZone": "Etc/UTC", "handler": "log"}
SCHEDULING = (*KINDS, "timeZone", "startTime", "endTime")
NAME_RULE = "must be lower-case letters, digits and hyphens, at most 63, and begin and end with a letter or a digit"
POLICIES = ("startTime", "endTime", "jitter", "suspend", "concurrencyPolicy", "startingDeadline", "timeout", *NESTED)


@dataclass(frozen=True, slots=True)
class Draft:
    """What was typed, and what is known of it."""

    form: Form
    handlers: Sequence[Handler]
    namespaces: Sequence[str] = ()
    job: JobDetail | None = None
    spec: Mapping[str, Any] | None = None
    errors: Sequence[FieldError] = ()
    problem: ProblemError | None = None
    is_checked: bool = False
    """The API server took it, as a dry run."""

    has_moved: bool = False
    """Somebody else changed the job since the form was opened."""

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """Return the schema of the handler that is chosen, or None where this replica does not have it."""
        name = self.form.get("handler", "").strip()
        return next((each.payload_schema for each in self.handlers if each.name == name), None)

    @property
    def names(self) -> list[str]:
        """Return the names of the form's fields."""
        own = [f"{PREFIX}{each.name}" for each in self.payload]
        return [*PATHS, *own, "payload", "namespace", "name"]

    @property
    def payload(self) -> list[PayloadField]:
        """Return the fields for the payload: those of the schema, and those that were filled and are not of it."""
        return [*payload_fields(self.schema), *strange_fields(self.form, self.schema)]

    @property
    def fields_of(self) -> str:
        """Return the handler that its fields are of: one that was chosen before, while a field of that is left."""
        return fields_of(self.form) if strange_fields(self.form, self.schema) else self.form.get("handler", "")

    def read(self) -> Draft:
        """Return it with the spec that its fields describe."""
        spec, errors = read_spec(self.form, self.schema, self.job.spec if self.job else None)
        return replace(self, spec=spec, errors=errors)


async def _draft(request: Request, seen: Visit, form: Form, job: JobDetail | None = None) -> Draft:
    reads = request.app.state.reads
    handlers = (await reads.handlers()).items
    known = await reads.namespaces() if seen.scope is None else seen.scope
    return Draft(form, handlers, sorted(known), job)


@router.get("/new", name="new")
async def new(request: Request) -> Response:
    """Show an empty form, or one that is filled like another job."""
    seen = await visit(request)
    draft = await _draft(request, seen, BLANK | {"namespace": request.query_params.get("namespace", "")})
    like = request.query_params.get("like")
    if like:
        job = await request.app.state.reads.job(seen.scope, like)
        as_it_is = replace(draft, form=fill(job.spec, None))
        copy = {"namespace": job.namespace, "name": f"{job.name[:58]}-copy"}
        draft = replace(draft, form=fill(job.spec, as_it_is.schema) | copy)
    elif not draft.form["namespace"] and len(draft.namespaces) == 1:
        draft = replace(draft, form=draft.form | {"namespace": draft.namespaces[0]})  # type: ignore[operator]
    return await _page(request, draft.read())


@router.post("/new", name="create")
async def create(request: Request) -> Response:
    """Show what the form says, try it, or create the job."""
    seen = await acting(request)
    draft = (await _draft(request, seen, await fields(request))).read()
    if draft.form.get("do") in LOOKS:
        return await _look(request, draft)
    made = _new_job(draft)
    if isinstance(made, list):
        draft = replace(draft, errors=[*made, *draft.errors])
    if draft.errors or isinstance(made, list):
        return await _page(request, draft, 422)
    is_trial = draft.form.get("do") != "save"
    return await _carry_out(request, seen, draft, request.app.state.writes.create(seen.caller, made, dry_run=is_trial))


def _new_job(draft: Draft) -> NewJob | list[FieldError]:
    names = {name: draft.form.get(name, "").strip() for name in ("namespace", "name")}
    try:
        return NewJob(**names, spec=dict(draft.spec or {}))
    except ValidationError as error:
        wrong = [str(each["loc"][0]) for each in error.errors(include_input=False, include_url=False)]
        return [FieldError(field=name, message=NAME_RULE if names.get(name) else "is required") for name in wrong]


@job_route(router, "/edit")
async def edit(request: Request) -> Response:
    """Show the form of a job as it is."""
    seen = await visit(request)
    job = await request.app.state.reads.job(seen.scope, job_id(request))
    draft = await _draft(request, seen, fill(job.spec, None), job)
    form = fill(job.spec, draft.schema) | {"etag": etag(job.id, job.version)}
    return await _page(request, replace(draft, form=form).read())


@job_route(router, "/edit", "POST")
async def save(request: Request) -> Response:
    """Show what the form says, try it, or save it, if nobody changed the job in between."""
    seen = await acting(request)
    job = await request.app.state.reads.job(seen.scope, job_id(request))
    draft = (await _draft(request, seen, await fields(request), job)).read()
    if draft.form.get("do") in LOOKS:
        return await _look(request, draft)
    if draft.errors:
        return await _page(request, draft, 422)
    tag = draft.form.get("etag") or None
    if tag is not None and tag != etag(job.id, job.version):
        return await _moved(request, draft)
    is_trial = draft.form.get("do") != "save"
    action = request.app.state.writes.replace(seen.caller, str(job.id), dict(draft.spec or {}), tag, dry_run=is_trial)
    return await _carry_out(request, seen, draft, action)


async def _look(request: Request, draft: Draft) -> Response:
    """Show what the form says by now, without the payload fields of the handler that was chosen before, if another is.

    Where the form does not say whose they are, they are of the one that is chosen.
    """
    form = draft.form
    if fields_of(form) != form.get("handler", ""):
        strange = {f"{PREFIX}{each.name}" for each in strange_fields(form, draft.schema)}
        draft = replace(draft, form={name: text for name, text in form.items() if name not in strange}).read()
    return await _page(request, draft)


async def _moved(request: Request, draft: Draft) -> Response:
    """Show what is in force beside what was typed; who saves from here has seen both."""
    assert draft.job is not None  # noqa: S101 only what is there can have moved
    form = {**draft.form, "etag": etag(draft.job.id, draft.job.version)}
    return await _page(request, replace(draft, form=form, has_moved=True), 409)


async def _carry_out(request: Request, seen: Visit, draft: Draft, action: Any) -> Response:
    try:
        answer: JobDetail = await action
    except (ProblemError, ScheduledJobsError) as error:
        found = problem_of(error)
        if found.status in NOT_OURS:
            raise
        if found.status in CONFLICTS and draft.job is not None:
            current = await _newer(request, seen, draft.job)
            return await _moved(request, replace(draft, job=current, problem=found))
        errors = [FieldError(field=each.field, message=each.message) for each in found.errors]
        return await _page(request, replace(draft, errors=errors, problem=found), found.status)
    if draft.form.get("do") != "save":
        return await _page(request, replace(draft, is_checked=True))
    verb = "created" if draft.job is None else f"saved as version {answer.version}"
    return go(href(answer), Flash(f"{answer.namespace}/{answer.name} is {verb}.{unread(answer)}"))


async def _newer(request: Request, seen: Visit, known: JobDetail) -> JobDetail:
    """Return the job as it is by now: the leader may need a moment to read what somebody has just changed."""
    for _ in range(LOOKS_AGAIN):
        found: JobDetail = await request.app.state.reads.job(seen.scope, str(known.id))
        if found.version != known.version:
            return found
        await asyncio.sleep(LOOK_SECONDS)
    return found


async def _page(request: Request, draft: Draft, status: int = 200) -> Response:
    job, spec = draft.job, draft.spec or {}
    row = await request.app.state.reads.row(None, str(job.id)) if job else None  # who asks may see it: it was read so
    coming, wrong = _coming(spec, row)
    is_typed = any(draft.form.get(kind) for kind in KINDS)
    found = [*draft.errors, *(wrong if is_typed else [])]
    errors, others = by_field(found, draft.names)
    namespace, name = (
        (job.namespace, job.name) if job else (draft.form.get("namespace", ""), draft.form.get("name", ""))
    )
    return await render(
        request,
        "edit.html",
        status,
        page="jobs" if job else "new",
        draft=draft,
        job=job,
        form=draft.form,
        errors=errors,
        others=others,
        coming=coming,
        payload=draft.payload,
        takes_others=takes_others(draft.schema) or bool(draft.form.get("payload")),
        zones=[] if draft.form.get("do") == "live" else sorted(zone_names()),
        is_open=any(field.partition(".")[0] in POLICIES for field in errors),
        yaml=manifest(namespace, name, spec),
        changes=differences(job.spec, spec) if job else [],
    )


def _coming(spec: Mapping[str, Any], row: Row | None) -> tuple[Preview | None, list[FieldError]]:
    """Return what the schedule means and when it fires next, as that of the job of `row`, or what is wrong with it."""
    given = {name: spec[name] for name in SCHEDULING if name in spec}
    try:
        return preview(PreviewQuery.model_validate({**given, "count": 10}), datetime.now(UTC), row), []
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        return None, [FieldError(field=str(each["loc"][0]), message=each["msg"]) for each in found]
    except ProblemError as refused:
        return None, [FieldError(field=each.field, message=each.message) for each in refused.errors]
