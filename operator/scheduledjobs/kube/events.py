"""Events (events.k8s.io/v1) about a ScheduledJob, for `kubectl describe` and `kubectl events`."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

from scheduledjobs.core.resource import GROUP, KIND, VERSION, ResourceMeta
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.kube.lease import micro_time

CONTROLLER = f"{GROUP}/operator"
LONGEST_NOTE = 1024
"""Bytes: the API server refuses a longer one."""


def event_name(meta: ResourceMeta) -> str:
    """Return a name for an Event about a resource that no other Event has."""
    return f"{meta.name[:40].rstrip('-.')}.{uuid4().hex[:16]}"


async def post_event(
    kube: KubeClient,
    meta: ResourceMeta,
    name: str,
    *,
    type_: str,
    reason: str,
    note: str,
    instance: str,
    said_at: datetime,
) -> None:
    """Write one Event about a resource; `type_` is Normal or Warning, `instance` names this replica.

    `Conflict` if there is one of this name.
    """
    body = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": meta.namespace},
        "eventTime": micro_time(said_at),
        "type": type_,
        "reason": reason,
        "action": "Schedule",
        "note": note.encode()[:LONGEST_NOTE].decode(errors="ignore"),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:128],
        "regarding": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": str(meta.uid),
        },
    }
    await kube.request("POST", f"/apis/events.k8s.io/v1/namespaces/{meta.namespace}/events", body=body)
