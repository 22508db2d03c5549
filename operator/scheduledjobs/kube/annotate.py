"""A person's requests on a ScheduledJob: annotations, changed only onto the very version that was read.

The credentials are the person's own (KUBECONFIG, or the token of a call), so the API server's audit log and rights
speak of the person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kubernetes.aio import config

from scheduledjobs.core.resource import Resource
from scheduledjobs.errors import Conflict, NotFound, SettingsError
from scheduledjobs.kube.client import NOT_FOUND, Requests, kubeconfig
from scheduledjobs.kube.listing import collection_path, get_resource, read_resource

MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
TRIES = 5


async def change(
    kube: Requests,
    namespace: str,
    name: str,
    changes: Callable[[Resource], Mapping[str, str | None]],
    *,
    field_manager: str,
) -> tuple[Resource, Resource]:
    """Annotate a job with what `changes` says of it as read, and read again if it changed in between.

    Return the job as it was and as it is now: the same where there was nothing to change. `changes` may be called
    several times, and refuses by raising. `NotFound` where there is no such job, `Conflict` after five tries.
    """
    for tried in range(1, TRIES + 1):
        before = await get_resource(kube, namespace, name)
        if before is None:
            raise NotFound(f"{namespace}/{name}: not found", NOT_FOUND)
        wanted = changes(before)
        if not wanted:
            return before, before
        try:
            return before, await annotate(kube, before, wanted, field_manager=field_manager)
        except Conflict:
            if tried == TRIES:
                raise
    raise AssertionError("the loop returns or raises")


async def annotate(
    kube: Requests, resource: Resource, changes: Mapping[str, str | None], *, field_manager: str
) -> Resource:
    """Set annotations (None removes one) and return the job; `Conflict` if it is not as it was read any more."""
    meta = resource.meta
    metadata = {"uid": str(meta.uid), "resourceVersion": str(meta.resource_version), "annotations": dict(changes)}
    path = f"{collection_path(meta.namespace)}/{meta.name}"
    query = {"fieldManager": field_manager}
    answer = await kube.request("PATCH", path, body={"metadata": metadata}, headers=MERGE_PATCH, query=query)
    return read_resource(answer) or resource


def context() -> tuple[str, str | None]:
    """Return the namespace and user of the kubeconfig's current context: ("default", None) where it names none."""
    path = kubeconfig()
    try:
        _, current = config.list_kube_config_contexts(config_file=path)
    except (config.ConfigException, OSError, ValueError) as error:
        raise SettingsError(f"KUBECONFIG: {path} gives no access to a cluster: {error}") from error
    chosen = (current or {}).get("context", {})
    return str(chosen.get("namespace") or "default"), chosen.get("user")
