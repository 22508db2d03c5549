"""Places: what ran and what comes, job by job, and the replicas that do the work."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from scheduledjobs.web.filters import JobFilters
from scheduledjobs.web.models import Cluster, Sight
from scheduledjobs.web.ui.jobs import asked
from scheduledjobs.web.ui.page import conditional, visit
from scheduledjobs.web.ui.render import render

router = APIRouter(prefix="/ui", include_in_schema=False)
HEARTBEAT_SECONDS = 1.0
FILTERS = ("q", "namespace", "cursor")
LANES = 30


@router.get("/timeline", name="timeline")
async def timeline(request: Request) -> Response:
    """Show a page of jobs with what ran in the last day and what comes in the next."""
    seen = await visit(request)

    async def make() -> Response:
        filters = asked(JobFilters, request, FILTERS, limit=LANES)
        found = await request.app.state.reads.timeline(seen.scope, filters)
        query = {name: request.query_params.get(name, "") for name in FILTERS}
        is_filtered = bool(query["q"] or query["namespace"])
        known = {"page": "timeline", "poll": True, "found": found, "query": query, "is_filtered": is_filtered}
        return await render(request, "timeline.html", **known)

    return await conditional(request, seen, make)


@router.get("/cluster", name="cluster")
async def cluster(request: Request) -> Response:
    """Show the replicas, who leads, and who led before."""
    seen = await visit(request)

    async def make() -> Response:
        found: Cluster = await request.app.state.reads.cluster()
        alive = [each for each in found.replicas if each.sight is Sight.ALIVE]
        return await render(
            request,
            "cluster.html",
            page="cluster",
            poll=True,
            found=found,
            alive=len(alive),
            late=sum(each.sight is Sight.LATE for each in found.replicas),
            running=sum(each.running for each in alive),
            slots=sum(each.slots for each in alive),
            versions=sorted({each.version for each in alive}),
        )

    return await conditional(request, seen, make, HEARTBEAT_SECONDS)
