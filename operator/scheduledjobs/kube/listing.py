"""Lists and reads of ScheduledJobs: the truth that the watch is compared with.

Lists are paged and without a resourceVersion, so they are quorum reads; a list that breaks or expires in the middle
raises, because half a list proves nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from sys import intern
from typing import Any
from uuid import UUID

import structlog

from scheduledjobs.core.nesting import DEEPEST_READ, cut, is_deeper
from scheduledjobs.core.resource import GROUP, PLURAL, VERSION, Resource, ResourceMeta, our_annotations
from scheduledjobs.errors import Forbidden, NotFound
from scheduledjobs.kube.client import FORBIDDEN, KubeClient, Requests

log = structlog.get_logger(__name__)

COLLECTION = f"/apis/{GROUP}/{VERSION}"
PAGE = 250
"""Objects a request: half a megabyte where payloads are small, 8 MB where all are as large as may be."""

PAGE_SECONDS = 30.0


def collection_path(namespace: str | None = None) -> str:
    """Return the path of all ScheduledJobs, or of one namespace's."""
    return f"{COLLECTION}/namespaces/{namespace}/{PLURAL}" if namespace else f"{COLLECTION}/{PLURAL}"


async def list_resources(kube: KubeClient, namespace: str | None) -> AsyncIterator[list[Resource]]:
    """Yield every ScheduledJob of one namespace, or of all, that can be read, a page at a time."""
    async for items in list_pages(kube, collection_path(namespace)):
        yield [found for found in map(read_resource, items) if found is not None]


async def list_pages(
    kube: KubeClient, path: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield the objects of a collection as the API server has them, a page at a time."""
    following = ""
    while True:
        query = {"limit": PAGE, **({"continue": following} if following else {})}
        page = await kube.request("GET", path, query=query, headers=headers, seconds=PAGE_SECONDS)
        yield page.get("items") or []
        following = page.get("metadata", {}).get("continue") or ""
        if not following:
            return


async def get_resource(kube: Requests, namespace: str, name: str) -> Resource | None:
    """Return one ScheduledJob by a quorum read, or None where there is none."""
    try:
        return read_resource(await kube.request("GET", f"{collection_path(namespace)}/{name}"))
    except NotFound:
        return None


async def is_served(kube: KubeClient, namespaces: Sequence[str]) -> bool:
    """Return whether the API server serves ScheduledJobs at all: the CRD is installed.

    The first namespace that is not refused says so; `Forbidden` where all are, or the credentials.
    """
    scopes: Sequence[str | None] = namespaces or [None]
    refused: list[Forbidden] = []
    for namespace in scopes:
        try:
            await kube.request("GET", collection_path(namespace), query={"limit": 1})
        except NotFound:
            return False
        except Forbidden as error:
            if error.status != FORBIDDEN:
                raise
            refused.append(error)
        else:
            return True
    raise refused[-1]


def read_meta(raw: Mapping[str, Any]) -> ResourceMeta | None:
    """Return the metadata of an object, or None if it has none that can be read."""
    try:
        meta = raw["metadata"]
        return ResourceMeta(
            uid=UUID(meta["uid"]),
            namespace=intern(meta["namespace"]),
            name=meta["name"],
            generation=int(meta.get("generation", 0)),
            resource_version=int(meta["resourceVersion"]),
            annotations=our_annotations(meta.get("annotations")),
        )
    except (KeyError, ValueError, TypeError) as error:
        log.warning("an object of the API server cannot be read", error=repr(error))
        return None


def read_resource(raw: Mapping[str, Any]) -> Resource | None:
    """Return a ScheduledJob, or None if it cannot be read."""
    meta = read_meta(raw)
    if meta is None:
        return None
    metadata = raw["metadata"]
    return Resource(
        meta=meta,
        created_at=datetime.fromisoformat(metadata["creationTimestamp"].replace("Z", "+00:00")),
        spec=_mapping(raw.get("spec")),
        status=_mapping(raw.get("status")),
        field_manager=_field_manager(metadata.get("managedFields") or []),
        is_deleting="deletionTimestamp" in metadata,
    )


def _mapping(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping) and is_deeper(value, DEEPEST_READ):
        value = cut(value, DEEPEST_READ)
    return dict(value) if isinstance(value, Mapping) else {}


def _field_manager(managed: Sequence[Mapping[str, Any]]) -> str | None:
    """Return who wrote the spec last."""
    writers = [entry for entry in managed if not entry.get("subresource") and "f:spec" in entry.get("fieldsV1", {})]
    newest = max(writers, key=lambda entry: str(entry.get("time", "")), default=None)
    return str(newest["manager"]) if newest and "manager" in newest else None
