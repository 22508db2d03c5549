"""The leader's Lease (coordination.k8s.io/v1): read, taken, renewed and released by compare-and-set.

Written as a merge patch of plain values with the resourceVersion in it: the client's model would drop a zero fraction
from the times, which the API server demands, and a patch of a changed object is refused with 409.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from scheduledjobs.core.lease import LeaseView
from scheduledjobs.errors import Conflict, NotFound
from scheduledjobs.kube.client import KubeClient

MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


def micro_time(moment: datetime) -> str:
    """Return metav1.MicroTime: exactly six digits of fraction, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class LeaseDoor:
    """One Lease by name."""

    def __init__(
        self,
        kube: KubeClient,
        namespace: str,
        name: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`now` is for the times in the Lease, which are for people: nothing is decided by them."""
        self._kube = kube
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = name
        self._now = now

    async def read(self) -> LeaseView | None:
        """Return the Lease, or None where there is none."""
        try:
            return _view(await self._kube.request("GET", f"{self._path}/{self._name}"))
        except NotFound:
            return None

    async def create(self, seconds: float) -> LeaseView:
        """Create the Lease, held by nobody, or return the one that somebody else has just created."""
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name},
            "spec": {"leaseTransitions": 0},
        }
        try:
            return _view(await self._kube.request("POST", self._path, body=body, seconds=seconds))
        except Conflict:
            view = await self.read()
            if view is None:
                raise
            return view

    async def take(self, view: LeaseView, holder: str, lease_seconds: float, seconds: float) -> LeaseView:
        """Make `holder` the holder; `Conflict` if the Lease is not as in `view` any more."""
        now = micro_time(self._now())
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": round(lease_seconds),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": view.transitions + 1,
        }
        return await self._patch(view, spec, seconds)

    async def renew(self, view: LeaseView, lease_seconds: float, seconds: float) -> LeaseView:
        """Renew it; `Conflict` if the Lease is not as in `view` any more."""
        spec = {"renewTime": micro_time(self._now()), "leaseDurationSeconds": round(lease_seconds)}
        return await self._patch(view, spec, seconds)

    async def release(self, view: LeaseView, seconds: float) -> LeaseView:
        """Give it up, so that another may take it at once; `Conflict` if it is not as in `view` any more."""
        spec = {"holderIdentity": "", "renewTime": micro_time(self._now()), "leaseDurationSeconds": 1}
        return await self._patch(view, spec, seconds)

    async def _patch(self, view: LeaseView, spec: Mapping[str, Any], seconds: float) -> LeaseView:
        body = {"metadata": {"resourceVersion": view.resource_version}, "spec": dict(spec)}
        path = f"{self._path}/{self._name}"
        return _view(await self._kube.request("PATCH", path, body=body, headers=MERGE_PATCH, seconds=seconds))


def _view(lease: Mapping[str, Any]) -> LeaseView:
    """Read what matters, whatever somebody has written into the rest."""
    spec = lease.get("spec") or {}
    transitions = spec.get("leaseTransitions")
    return LeaseView(
        holder=str(spec.get("holderIdentity") or ""),
        resource_version=str(lease["metadata"]["resourceVersion"]),
        renewed_at=str(spec.get("renewTime") or ""),
        transitions=transitions if isinstance(transitions, int) else 0,
    )
