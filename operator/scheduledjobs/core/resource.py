"""A ScheduledJob as the API server holds it, reduced to what the operator reads.

Source: the watch and list of scheduledjobs.scheduledjobs.dev/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

GROUP = "scheduledjobs.dev"
VERSION = "v1"
PLURAL = "scheduledjobs"
KIND = "ScheduledJob"

RUN_NOW = f"{GROUP}/run-now"
RUN_NOW_PAYLOAD = f"{GROUP}/run-now-payload"
PAUSED_UNTIL = f"{GROUP}/paused-until"
PAUSED_BY = f"{GROUP}/paused-by"
PAUSE_REASON = f"{GROUP}/pause-reason"


@dataclass(frozen=True, slots=True)
class ResourceMeta:
    """What a compare needs of a resource: identity, and what changes when something we read changes."""

    uid: UUID
    namespace: str
    name: str
    generation: int
    resource_version: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Ours only: those whose key begins with scheduledjobs.dev/."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One ScheduledJob with its spec and status."""

    meta: ResourceMeta
    created_at: datetime
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    field_manager: str | None = None
    """Who wrote the spec last, of metadata.managedFields."""

    is_deleting: bool = False
    """True once metadata.deletionTimestamp is set: it fires no more."""


NONE: Mapping[str, str] = {}


def our_annotations(annotations: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return the annotations whose key is ours, in sorted order; of the many jobs that have none, the same one."""
    return {key: value for key, value in sorted((annotations or {}).items()) if key.startswith(f"{GROUP}/")} or NONE
