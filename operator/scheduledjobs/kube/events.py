"""Events (events.k8s.io/v1) about a ScheduledJob, for `kubectl describe` and `kubectl events`."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

from scheduledjobs.core.resource import GROUP, KIND, VERSION, ResourceMeta
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.kube.lease import micro_time

CONTROLLER = f"{GROUP}/operator"
LONGEST_NOTE = 1024


async def post_event(
    kube: KubeClient, meta: ResourceMeta, *, type_: str, reason: str, note: str, instance: str, now: datetime
) -> None:
    """Write one Event about a resource; `type_` is Normal or Warning, `instance` names this replica."""
    body = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{meta.name[:40].rstrip('-.')}.{uuid4().hex[:16]}", "namespace": meta.namespace},
        "eventTime": micro_time(now),
        "type": type_,
        "reason": reason,
        "action": "Schedule",
        "note": note[:LONGEST_NOTE],
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
