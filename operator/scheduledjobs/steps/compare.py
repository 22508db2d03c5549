"""Compare: hold the mirror against the API server's list, since a watch can miss what a list cannot.

Level-triggered: at the start of a term, after each break of the watch, and every few minutes. What differs is fetched
and mirrored as seen by a quorum read; what the list no longer has is asked for by name before it counts as gone. A
namespace that was not listed to its end is not judged, nor is a job that was mirrored after the list began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from scheduledjobs import metrics
from scheduledjobs.core.resource import Resource, ResourceMeta
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.kube.listing import get_resource, list_metadata
from scheduledjobs.steps.mirror import Gone, Inbox, Seen, read_anew
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.mirror import load_mirror

log = structlog.get_logger(__name__)

EVERY_SECONDS = 300.0


class Compare:
    """The compares of one term."""

    def __init__(
        self,
        leader: Leader,
        kube: KubeClient,
        inbox: Inbox,
        namespaces: Sequence[str],
        on_compared: Callable[[], None],
    ) -> None:
        self._leader = leader
        self._kube = kube
        self._inbox = inbox
        self._namespaces = namespaces
        self._on_compared = on_compared
        self._is_first = True
        self.wake = asyncio.Event()

    async def step(self) -> None:
        """Compare once; what differs goes to the mirror's inbox."""
        async with self._leader.session() as conn:
            rows = {row["id"]: row for row in await load_mirror(conn)}
        metas = {meta.uid: meta async for page in list_metadata(self._kube, self._namespaces) for meta in page}
        changed = [meta for uid, meta in metas.items() if differs(rows.get(uid), meta)]
        absent = [row for uid, row in rows.items() if uid not in metas and self._is_listed(row["namespace"])]
        await self._fetch(changed)
        gone = [row for row in absent if await self._is_gone(row)]
        for row in gone:
            self._inbox.put(Gone(row["id"], row["namespace"], row["name"]))
        self._report(len(metas), len(changed), len(gone))
        self._on_compared()

    async def _read(self, namespace: str, name: str) -> Resource | None:
        async def get(namespace: str, name: str) -> Resource | None:
            return await get_resource(self._kube, namespace, name)

        return await read_anew(self._inbox, get, namespace, name)

    def _is_listed(self, namespace: str) -> bool:
        return not self._namespaces or namespace in self._namespaces

    async def _fetch(self, changed: Sequence[ResourceMeta]) -> None:
        for meta in changed:
            resource = await self._read(meta.namespace, meta.name)
            if resource is not None:
                self._inbox.put(Seen(resource, is_quorum=True))

    async def _is_gone(self, row: Mapping[str, Any]) -> bool:
        living = await self._read(row["namespace"], row["name"])
        if living is not None and living.meta.uid != row["id"]:
            self._inbox.put(Seen(living, is_quorum=True))
        return living is None or living.meta.uid != row["id"]

    def _report(self, listed: int, changed: int, gone: int) -> None:
        if not self._is_first and (changed or gone):
            metrics.MIRROR_DRIFT.inc(changed + gone)
        metrics.repairs("mirrored").inc(changed)
        metrics.repairs("deleted").inc(gone)
        self._is_first = False
        log.info("compared the mirror with the cluster", listed=listed, changed=changed, gone=gone)


def differs(row: Mapping[str, Any] | None, meta: ResourceMeta) -> bool:
    """Return whether the mirror lacks a resource or holds another spec or other annotations of ours.

    One that the mirror has in a later version than the list was written after a snapshot that etcd has been restored
    from; its generation says nothing then.
    """
    if row is None:
        return True
    is_other = row["version"] != meta.generation or row["annotations"] != dict(meta.annotations)
    return bool(is_other or row["resource_version"] > meta.resource_version)
