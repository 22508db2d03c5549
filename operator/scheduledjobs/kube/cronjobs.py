"""CronJobs of the cluster and the moments that their controller has run, for `import`. Read only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from scheduledjobs.kube.client import KubeClient
from scheduledjobs.kube.listing import list_pages

BATCH = "/apis/batch/v1"
METADATA_ONLY = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"}
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"


async def list_cronjobs(kube: KubeClient, namespace: str | None) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield the CronJobs of a namespace, or of all, a page at a time."""
    async for page in list_pages(kube, _path(namespace, "cronjobs")):
        yield page


async def list_runs(kube: KubeClient, namespace: str | None) -> dict[str, set[datetime]]:
    """Return the moments that the CronJob controller has made Jobs for, by the CronJob's uid, as far as it shows.

    A Job says its moment in an annotation until it is deleted, and a CronJob its newest one in its status.
    """
    found: dict[str, set[datetime]] = {}
    async for page in list_pages(kube, _path(namespace, "jobs"), METADATA_ONLY):
        for job in page:
            metadata = job["metadata"]
            moment = (metadata.get("annotations") or {}).get(SCHEDULED)
            for owner in metadata.get("ownerReferences") or []:
                if moment and owner.get("kind") == "CronJob":
                    found.setdefault(owner["uid"], set()).add(_instant(moment))
    async for page in list_pages(kube, _path(namespace, "cronjobs")):
        for cronjob in page:
            if moment := (cronjob.get("status") or {}).get("lastScheduleTime"):
                found.setdefault(cronjob["metadata"]["uid"], set()).add(_instant(moment))
    return found


def _path(namespace: str | None, plural: str) -> str:
    return f"{BATCH}/namespaces/{namespace}/{plural}" if namespace else f"{BATCH}/{plural}"


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
