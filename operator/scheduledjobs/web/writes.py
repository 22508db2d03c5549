"""Writes: every action of REST and the pages is a change of the custom resource, made with the caller's own rights.

So the API server decides who may, its audit log names the person, and GitOps, kubectl and the pages never disagree. The
one exception is the cancel of an execution, which goes to its row, as `scheduledjobs cancel` does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any
from uuid import UUID

import orjson

from scheduledjobs.core import requests
from scheduledjobs.core.plan import Judge, Verdict
from scheduledjobs.core.reasons import LIVE_STATES, JobState
from scheduledjobs.core.resource import GROUP, KIND, RUN_NOW, VERSION, Resource
from scheduledjobs.core.spec import unknown_fields
from scheduledjobs.errors import Conflict, KubeError
from scheduledjobs.handlers import Registry
from scheduledjobs.kube.annotate import change
from scheduledjobs.kube.caller import Caller, Callers
from scheduledjobs.kube.listing import collection_path, read_resource
from scheduledjobs.store.executions import CHANGED, STOP, cancel_execution, notify
from scheduledjobs.store.queries import Row
from scheduledjobs.store.sessions import connect
from scheduledjobs.web.audit import tell_change
from scheduledjobs.web.auth import Auth
from scheduledjobs.web.hub import Hub
from scheduledjobs.web.models import Execution, FieldError, JobDetail, NewJob, RunAnswer
from scheduledjobs.web.planned import planned
from scheduledjobs.web.problems import ProblemError
from scheduledjobs.web.reads import Reads

MANAGER = "scheduledjobs-web"
JSON_PATCH = {"Content-Type": "application/json-patch+json"}
TRIES = 5
SEEN_SECONDS = 2.0
"""How long an answer waits for the leader to have read a change; it is made either way."""

LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class AsCaller:
    """The API server, asked as the caller."""

    callers: Callers
    caller: Caller

    async def request(self, verb: str, path: str, **kwargs: Any) -> dict[str, Any]:
        """Make one request with the caller's rights."""
        return await self.callers.request(self.caller, verb, path, **kwargs)


class Writes:
    """The actions of one server."""

    def __init__(self, callers: Callers, auth: Auth, reads: Reads, registry: Registry, hub: Hub, url: str) -> None:
        self._callers = callers
        self._auth = auth
        self._reads = reads
        self._registry = registry
        self._hub = hub
        self._url = url

    async def create(self, caller: Caller, new: NewJob, *, dry_run: bool = False) -> JobDetail:
        """Create a job; the answer waits a moment for the leader to have read it.

        Rights come before the spec, here as in all that writes: what is wrong with one names what its namespace has.
        """
        await self._must(caller, "create", new.namespace)
        verdict = await self._check(new.spec, new.namespace)
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": new.name, "namespace": new.namespace, "labels": new.labels},
            "spec": new.spec,
        }
        kube = AsCaller(self._callers, caller)
        query = _query(dry_run=dry_run)
        raw = await kube.request("POST", collection_path(new.namespace), query=query, body=body)
        resource = _resource(raw)
        if dry_run:
            return planned(resource, verdict, datetime.now(UTC))
        self._auth.learn(new.namespace)
        tell_change(caller, "create", resource.meta.namespace, resource.meta.name)
        return await self._mirrored(resource, verdict)

    async def replace(
        self,
        caller: Caller,
        id: str,  # noqa: A002
        spec: Mapping[str, Any],
        if_match: str | None,
        *,
        dry_run: bool = False,
    ) -> JobDetail:
        """Replace the spec of a job; 412 if it is not the version of `if_match` any more."""
        row = await self._living(caller, id)
        await self._must(caller, "patch", row["namespace"], row["name"])
        verdict = await self._check(spec, row["namespace"])
        kube = AsCaller(self._callers, caller)
        path = _path(row)
        for tried in range(1, TRIES + 1):
            before = await self._current(kube, row)
            if if_match is not None and not matches(if_match, etag(before.meta.uid, before.meta.generation)):
                detail = f"the job is at version {before.meta.generation} now: read it again, and decide anew"
                raise ProblemError(412, "Changed in between", detail, "VersionChanged")
            patch = [
                {"op": "test", "path": "/metadata/uid", "value": str(before.meta.uid)},
                {"op": "test", "path": "/metadata/resourceVersion", "value": str(before.meta.resource_version)},
                {"op": "replace", "path": "/spec", "value": dict(spec)},
            ]
            try:
                raw = await kube.request("PATCH", path, query=_query(dry_run=dry_run), body=patch, headers=JSON_PATCH)
            except KubeError as error:
                if not _has_moved(error) or tried == TRIES:
                    raise
            else:
                break
        resource = _resource(raw)
        if dry_run:
            return await self._planned(resource, verdict)
        tell_change(caller, "replace", row["namespace"], row["name"])
        return await self._mirrored(resource, verdict)

    async def delete(self, caller: Caller, id: str) -> None:  # noqa: A002
        """Delete a job: it fires no more; its history stays."""
        row = await self._living(caller, id)
        body = {"preconditions": {"uid": str(row["id"])}}
        await AsCaller(self._callers, caller).request("DELETE", _path(row), body=body)
        tell_change(caller, "delete", row["namespace"], row["name"])
        await self._until(row["id"], lambda found: found["state"] == JobState.DELETED)

    async def pause(self, caller: Caller, id: str, until: str, reason: str) -> JobDetail:  # noqa: A002
        """Suspend a job until a moment (RFC 3339, or forever)."""
        changes = requests.pause(until, caller.name, reason, datetime.now(UTC))
        row = await self._living(caller, id)
        resource = await self._change(caller, row, lambda _: changes)
        tell_change(caller, "pause", row["namespace"], row["name"], paused_until=until)
        return await self._annotated(resource)

    async def resume(self, caller: Caller, id: str) -> JobDetail:  # noqa: A002
        """End the pause of a job; 409 where the spec itself suspends it."""
        row = await self._living(caller, id)
        resource = await self._change(caller, row, requests.resume)
        tell_change(caller, "resume", row["namespace"], row["name"])
        return await self._annotated(resource)

    async def run_now(
        self,
        caller: Caller,
        id: str,  # noqa: A002
        payload: Mapping[str, Any] | None,
        token: str | None,
    ) -> RunAnswer:
        """Run a job once; the same token is one run for the life of the job."""
        token = f"web-{token_hex(6)}" if token is None else token
        requests.check_token(token)
        row = await self._living(caller, id)
        if payload is not None:
            await self._must(caller, "patch", row["namespace"], row["name"])
            self._check_payload(row, payload)
        text = None if payload is None else orjson.dumps(payload).decode()
        if (known := await self._reads.request(row["id"], token)) is not None:
            await self._must(caller, "patch", row["namespace"], row["name"])
            requests.check_same(token, text, orjson.dumps(known["payload"]).decode())
        else:
            recorded = await self._recorded(caller, row)
            await self._change(caller, row, lambda resource: requests.run_now(resource, token, text, recorded))
            tell_change(caller, "run-now", row["namespace"], row["name"], run_key=token)
        deadline = time.monotonic() + SEEN_SECONDS
        while (found := await self._reads.requested(row["id"], token)) is None and time.monotonic() < deadline:
            await self._hub.wait(LOOK_SECONDS)
        return RunAnswer(token=token, job_id=row["id"], execution=found)

    async def _recorded(self, caller: Caller, row: Row) -> str | None:
        """Return the token of the job's last request if its row is there: the status echoes it a moment later."""
        known = (await self._current(AsCaller(self._callers, caller), row)).meta.annotations.get(RUN_NOW)
        return known if known and await self._reads.request(row["id"], known) else None

    async def cancel(self, caller: Caller, execution_id: int) -> Execution:
        """Cancel an execution that waits or runs; 409 if it has ended, 503 if nobody says now who may.

        One that ends before its handler has stopped may have succeeded, or run out of time, all the same.
        """
        found = await self._reads.execution(await self._auth.scope(caller), execution_id)
        await self._must(caller, "patch", found.namespace, found.job)
        async with connect(self._url, "scheduledjobs web cancel", statement_timeout="5s", lock_timeout="2s") as conn:
            with conn.bounded(6.0):
                asked = await cancel_execution(conn, execution_id, caller.name)
                if asked is None:  # maybe since it was read above
                    ended = await self._reads.execution(None, execution_id)
                    detail = f"the execution has ended already: {ended.state}"
                    raise ProblemError(409, "It has ended", detail, "ExecutionEnded")
                await notify(conn, STOP)
                await notify(conn, CHANGED)
        tell_change(caller, "cancel", found.namespace, found.job, execution_id=execution_id)
        return await self._ended(execution_id)

    async def _must(self, caller: Caller, verb: str, namespace: str, name: str = "") -> None:
        """Refuse who may not do that to the job of that name, asked anew; where the API server is not asked first."""
        if not await self._auth.may_now(caller, verb, namespace, name):
            detail = f"{caller.name} may not {verb} scheduledjobs in the namespace {namespace}"
            raise ProblemError(403, "Forbidden", detail, "Forbidden")

    async def _ended(self, execution_id: int) -> Execution:
        deadline = time.monotonic() + SEEN_SECONDS
        while True:
            found = await self._reads.execution(None, execution_id)
            if found.state not in LIVE_STATES or time.monotonic() > deadline:
                return Execution(**found.model_dump(include=set(Execution.model_fields)))
            await self._hub.wait(LOOK_SECONDS)

    async def _living(self, caller: Caller, id: str) -> Row:  # noqa: A002
        """Return the row of a job that is there, and that the caller may see."""
        row = await self._reads.row(await self._auth.scope(caller), id)
        if row["state"] == JobState.DELETED:
            detail = f"job {id} was deleted; its history is kept, and nothing can be done with it"
            raise ProblemError(404, "Deleted", detail, "JobDeleted")
        return row

    async def _change(
        self, caller: Caller, row: Row, changes: Callable[[Resource], Mapping[str, str | None]]
    ) -> Resource:
        """Annotate the job of a row, and no other that may have its name by now; return it as it is then."""

        def of_this(resource: Resource) -> Mapping[str, str | None]:
            if resource.meta.uid != row["id"]:
                raise _another(row)
            return changes(resource)

        kube = AsCaller(self._callers, caller)
        before, after = await change(kube, row["namespace"], row["name"], of_this, field_manager=MANAGER)
        if after is before:
            await self._must(caller, "patch", row["namespace"], row["name"])
        return after

    async def _current(self, kube: AsCaller, row: Row) -> Resource:
        resource = _resource(await kube.request("GET", _path(row)))
        if resource.meta.uid != row["id"]:
            raise _another(row)
        return resource

    async def _check(self, spec: Mapping[str, Any], namespace: str) -> Verdict:
        """Judge a spec as the mirror will; 422 names the fields that cannot work."""
        unknown = [FieldError(field=field, message=message) for field, message in unknown_fields(spec)]
        names = await self._reads.handler_names()
        judge = Judge(names.__contains__, self._registry.check)
        verdict = judge.verdict(spec, namespace)
        wrong = [*unknown, *_fields(verdict, sorted(names))]
        if wrong:
            detail = "; ".join(f"{error.field}: {error.message}" for error in wrong[:3])
            reason = verdict.reason if verdict.state is JobState.INVALID else "InvalidSpec"
            raise ProblemError(422, "The spec cannot work", detail, reason, errors=wrong)
        return verdict

    def _check_payload(self, row: Row, payload: Mapping[str, Any]) -> None:
        """Judge the payload alone: a job whose schedule cannot be read still says so when its run is recorded."""
        alone = {"fixedRate": "1s", "handler": row["handler"], "payload": dict(payload)}
        verdict = Judge(lambda _: True, self._registry.check).verdict(alone, row["namespace"])
        wrong = [
            FieldError(field=error.field.removeprefix("spec.").replace("spec", "payload"), message=error.message)
            for error in _fields(verdict, ())
        ]
        if wrong:
            detail = "; ".join(f"{error.field}: {error.message}" for error in wrong[:3])
            raise ProblemError(422, "The payload does not fit", detail, "InvalidPayload", errors=wrong)

    async def _mirrored(self, resource: Resource, verdict: Verdict) -> JobDetail:
        """Return the job as the leader planned it, or as it will once there is one that reads it."""
        meta = resource.meta
        if await self._until(meta.uid, lambda found: found["version"] >= meta.generation):
            return await self._reads.job(None, str(meta.uid))
        return await self._planned(resource, verdict)

    async def _planned(self, resource: Resource, verdict: Verdict) -> JobDetail:
        """Return the job as the leader will plan it: where it is known, with its history and the grid that it keeps."""
        now = datetime.now(UTC)
        if await self._reads.mirrored(resource.meta.uid) is None:
            return planned(resource, verdict, now)
        row, executions, _ = await self._reads.known(None, str(resource.meta.uid))
        return planned(resource, verdict, now, row, executions)

    async def _annotated(self, resource: Resource) -> JobDetail:
        """Return the job as it is in the database, and whether the leader has read its annotations."""
        meta = resource.meta

        def is_read(found: Row) -> bool:
            same = found["version"] == meta.generation and found["annotations"] == dict(meta.annotations)
            # What the leader has no use for, such as a status, raises the version in the API server alone.
            return bool(
                same or found["resource_version"] >= meta.resource_version or found["state"] == JobState.DELETED
            )

        is_mirrored = await self._until(meta.uid, is_read)
        return (await self._reads.job(None, str(meta.uid))).model_copy(update={"is_mirrored": is_mirrored})

    async def _until(self, job_id: UUID, holds: Callable[[Row], bool]) -> bool:
        """Wait until the row of a job says so, not for long; return whether it did."""
        deadline = time.monotonic() + SEEN_SECONDS
        while True:
            row = await self._reads.mirrored(job_id)
            if row is not None and holds(row):
                return True
            if time.monotonic() > deadline:
                return False
            await self._hub.wait(LOOK_SECONDS)


def _another(row: Row) -> ProblemError:
    return ProblemError(404, "Not found", f"another job has the name {row['name']} by now", "NotFound")


def etag(uid: UUID, version: int) -> str:
    """Return the tag of a job's spec: it changes with each version, and with nothing else."""
    return f'"{uid}-{version}"'


def matches(if_match: str, tag: str) -> bool:
    """Return whether an If-Match header names this tag."""
    return any(part.strip() in ("*", tag) for part in if_match.split(","))


def _query(*, dry_run: bool) -> dict[str, str]:
    query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
    return {**query, "dryRun": "All"} if dry_run else query


def _path(row: Row) -> str:
    return f"{collection_path(row['namespace'])}/{row['name']}"


def _resource(raw: Mapping[str, Any]) -> Resource:
    metadata = raw.get("metadata")
    if isinstance(metadata, Mapping):  # what a dry run would create has no version yet
        raw = {**raw, "metadata": {"resourceVersion": "0", **metadata}}
    resource = read_resource(raw)
    if resource is None:
        raise ProblemError(502, "Bad gateway", "the API server's answer cannot be read", "BadGateway")
    return resource


def _has_moved(error: KubeError) -> bool:
    """Return whether a patch failed because the object is not as it was read: its status changes all the time."""
    return isinstance(error, Conflict) or (error.status == 422 and "is invalid" not in str(error))


def _fields(verdict: Verdict, handlers: Any) -> list[FieldError]:
    """Return what a verdict says is wrong, by field."""
    if verdict.state is not JobState.INVALID:
        return []
    if verdict.fields:
        return [FieldError(field=field, message=message) for field, message in verdict.fields]
    field, colon, message = verdict.message.partition(": ")
    if colon and field.startswith("spec"):
        return [FieldError(field=field, message=message)]
    known = f"; known are {', '.join(handlers)}" if verdict.reason == "HandlerNotFound" else ""
    return [FieldError(field="spec.handler" if known else "spec", message=verdict.message + known)]
