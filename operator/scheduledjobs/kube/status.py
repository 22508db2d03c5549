"""The status of a ScheduledJob, patched whole and only onto the very object and version that was read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scheduledjobs.core.resource import ResourceMeta
from scheduledjobs.errors import Conflict, KubeError
from scheduledjobs.kube.client import FORBIDDEN, REQUEST_SECONDS, KubeClient
from scheduledjobs.kube.listing import collection_path

JSON_PATCH = {"Content-Type": "application/json-patch+json"}
CHANGED = frozenset({404, 409, 422})
"""Answers that say that the object is gone, is another one, or has moved on."""

REFUSALS = (" is invalid: ", " denied request: ", " denied the request")
"""In an answer that is none of these, though its status is 422: by the schema, a policy, a webhook."""

NO_RIGHT = " cannot patch resource "
"""In the refusal of whatever authorizer; a policy that refuses an object says 403, too."""


async def patch_status(
    kube: KubeClient, meta: ResourceMeta, status: Mapping[str, Any], seconds: float = REQUEST_SECONDS
) -> int:
    """Replace the status, within so many seconds; return the new resourceVersion.

    `Conflict` if the object is not as in `meta` any more; `Forbidden` if no status of the namespace may be written, and
    not if a policy refuses this one.
    """
    patch = [
        {"op": "test", "path": "/metadata/uid", "value": str(meta.uid)},
        {"op": "test", "path": "/metadata/resourceVersion", "value": str(meta.resource_version)},
        {"op": "add", "path": "/status", "value": dict(status)},
    ]
    path = f"{collection_path(meta.namespace)}/{meta.name}/status"
    try:
        answer = await kube.request("PATCH", path, body=patch, headers=JSON_PATCH, seconds=seconds)
    except KubeError as error:
        if error.status in CHANGED and not _is_refusal(error):
            raise Conflict(str(error), error.status) from error
        if error.status == FORBIDDEN and NO_RIGHT not in str(error):
            raise KubeError(str(error), error.status) from error
        raise
    return int(answer["metadata"]["resourceVersion"])


def _is_refusal(error: KubeError) -> bool:
    """A refusal by the schema is no race, and is to be seen: of the status, a defect of ours; of a spec that an older
    CRD let in, where a rule cannot even be evaluated (an unknown time zone), nothing can be written to the object. Nor
    is that of a policy, which says 422 unless it gives another reason."""
    return error.status == 422 and any(words in str(error) for words in REFUSALS)
