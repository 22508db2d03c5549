"""Jobs over REST: the resource is written, the database is read."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from scheduledjobs.core.requests import LONGEST_TOKEN
from scheduledjobs.web.api.calling import Actions, JobId, Questions, Seen, Writer
from scheduledjobs.web.api.strict import StrictRoute
from scheduledjobs.web.filters import ExecutionFilters, JobFilters, LocalMoment, VersionFilters
from scheduledjobs.web.models import (
    ExecutionPage,
    JobDetail,
    JobPage,
    NewJob,
    PauseRequest,
    Replacement,
    RunAnswer,
    RunRequest,
    Versions,
    Why,
)
from scheduledjobs.web.writes import etag

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=StrictRoute)
DryRun = Annotated[bool, Query(alias="dryRun", description="Check everything, change nothing")]


def _tagged(job: JobDetail, response: Response) -> JobDetail:
    response.headers["ETag"] = etag(job.id, job.version)
    return job


@router.get("", operation_id="listJobs")
async def list_jobs(scope: Seen, reads: Questions, filters: Annotated[JobFilters, Query()]) -> JobPage:
    """List jobs by namespace and name: those of the namespaces that the caller may see."""
    return await reads.jobs(scope, filters)


@router.post("", operation_id="createJob", status_code=201, responses={200: {"model": JobDetail}})
async def create_job(
    caller: Writer, writes: Actions, new: NewJob, response: Response, *, dry_run: DryRun = False
) -> JobDetail:
    """Create a ScheduledJob with the caller's rights. With `dryRun` the answer is 200 and nothing is kept."""
    job = await writes.create(caller, new, dry_run=dry_run)
    if dry_run:
        response.status_code = 200
    else:
        response.headers["Location"] = f"/jobs/{job.id}"
    return _tagged(job, response)


@router.get("/{id}", operation_id="getJob")
async def get_job(id: JobId, scope: Seen, reads: Questions, response: Response) -> JobDetail:  # noqa: A002
    """Return a job with its next fire times and newest executions. One that was deleted is known by its uid."""
    return _tagged(await reads.job(scope, id), response)


@router.put("/{id}", operation_id="replaceJob")
async def replace_job(
    id: JobId,  # noqa: A002
    caller: Writer,
    writes: Actions,
    body: Replacement,
    response: Response,
    if_match: Annotated[str | None, Header(description="ETag of the version that the caller has read")] = None,
    *,
    dry_run: DryRun = False,
) -> JobDetail:
    """Replace the whole spec of a job. With `If-Match` only if nobody changed it in between: else 412."""
    return _tagged(await writes.replace(caller, id, body.spec, if_match, dry_run=dry_run), response)


@router.delete("/{id}", operation_id="deleteJob", status_code=204)
async def delete_job(id: JobId, caller: Writer, writes: Actions) -> None:  # noqa: A002
    """Delete the ScheduledJob: it fires no more, and its history stays."""
    await writes.delete(caller, id)


@router.post("/{id}/pause", operation_id="pauseJob")
async def pause_job(id: JobId, caller: Writer, writes: Actions, body: PauseRequest, response: Response) -> JobDetail:  # noqa: A002
    """Suspend a job until a moment, or forever; GitOps does not undo it. With `isMirrored` false it is accepted, and
    not yet in force: no leader has read it."""
    return _tagged(await writes.pause(caller, id, body.until, body.reason), response)


@router.post("/{id}/resume", operation_id="resumeJob")
async def resume_job(id: JobId, caller: Writer, writes: Actions, response: Response) -> JobDetail:  # noqa: A002
    """End a pause. 409 where the spec itself suspends the job: that is changed there."""
    return _tagged(await writes.resume(caller, id), response)


@router.post("/{id}/run-now", operation_id="runJob", status_code=202, responses={200: {"model": RunAnswer}})
async def run_job(
    id: JobId,  # noqa: A002
    caller: Writer,
    writes: Actions,
    response: Response,
    body: RunRequest | None = None,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=LONGEST_TOKEN, description="The same key is one run for the life of the job"),
    ] = None,
) -> RunAnswer:
    """Run a job once, now: 200 with its execution once that is recorded, else 202: ask again with the same key."""
    answer = await writes.run_now(caller, id, body.payload if body else None, idempotency_key)
    if answer.execution is not None:
        response.status_code = 200
    return answer


@router.get("/{id}/logs", operation_id="listExecutions")
async def list_executions(
    id: JobId,  # noqa: A002
    scope: Seen,
    reads: Questions,
    filters: Annotated[ExecutionFilters, Query()],
) -> ExecutionPage:
    """List the execution history of a job, newest fire time first: also what was skipped or missed, with its reason."""
    return await reads.executions(scope, id, filters)


@router.get("/{id}/versions", operation_id="listVersions")
async def list_versions(
    id: JobId,  # noqa: A002
    scope: Seen,
    reads: Questions,
    filters: Annotated[VersionFilters, Query()],
) -> Versions:
    """List the versions of a job, newest first: who wrote each, and what it changed."""
    return await reads.versions(scope, id, filters)


@router.get("/{id}/why", operation_id="explainMoment")
async def explain_moment(
    id: JobId,  # noqa: A002
    scope: Seen,
    reads: Questions,
    at: Annotated[LocalMoment, Query(description="RFC 3339; without an offset it is read in the job's zone")],
) -> Why:
    """Tell what became of one moment of a job, and why."""
    return await reads.why(scope, id, at)
