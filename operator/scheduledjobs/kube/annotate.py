"""A person's requests on a ScheduledJob: annotations, changed only onto the very version that was read.

The credentials are the person's own (KUBECONFIG), so the API server's audit log and rights speak of the person.
"""

from __future__ import annotations

from collections.abc import Mapping

from kubernetes.aio import config

from scheduledjobs.core.resource import Resource
from scheduledjobs.errors import SettingsError
from scheduledjobs.kube.client import KubeClient, kubeconfig
from scheduledjobs.kube.listing import collection_path

MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


async def annotate(kube: KubeClient, resource: Resource, changes: Mapping[str, str | None]) -> None:
    """Set annotations (None removes one); `Conflict` if the resource is not as it was read any more."""
    meta = resource.meta
    metadata = {"uid": str(meta.uid), "resourceVersion": str(meta.resource_version), "annotations": dict(changes)}
    path = f"{collection_path(meta.namespace)}/{meta.name}"
    query = {"fieldManager": "scheduledjobs-cli"}
    await kube.request("PATCH", path, body={"metadata": metadata}, headers=MERGE_PATCH, query=query)


def context() -> tuple[str, str | None]:
    """Return the namespace and user of the kubeconfig's current context: ("default", None) where it names none."""
    path = kubeconfig()
    try:
        _, current = config.list_kube_config_contexts(config_file=path)
    except (config.ConfigException, OSError, ValueError) as error:
        raise SettingsError(f"KUBECONFIG: {path} gives no access to a cluster: {error}") from error
    chosen = (current or {}).get("context", {})
    return str(chosen.get("namespace") or "default"), chosen.get("user")
