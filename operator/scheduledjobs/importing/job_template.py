"""A CronJob's jobTemplate as the payload of the handler kubernetes-job.

Defaults that the API server has written into the pod's template are left out: they are in the way of who reads the
manifest, and would be written again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from scheduledjobs.core.duration import format_duration
from scheduledjobs.core.spec import SECOND
from scheduledjobs.importing.imported import Difference, Note
from scheduledjobs.importing.values import whole_number

LONGEST_TIMEOUT = timedelta(hours=168)
KEPT = frozenset({"template", "backoffLimit", "ttlSecondsAfterFinished", "activeDeadlineSeconds"})
EMPTY = frozenset({"manualSelector", "selector"})
"""Fields of a Job's spec that say nothing of a Job that is run once."""

ONE = frozenset({"parallelism", "completions"})
POD_DEFAULTS: Mapping[str, Any] = {
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "securityContext": {},
    "terminationGracePeriodSeconds": 30,
}
CONTAINER_DEFAULTS: Mapping[str, Any] = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
BOUNDS = {"backoffLimit": (0, 10), "ttlSecondsAfterFinished": (60, 604_800)}
MARKS = frozenset(
    (
        "cluster-autoscaler.kubernetes.io/safe-to-evict",
        "karpenter.sh/do-not-disrupt",
        "linkerd.io/inject",
        "sidecar.istio.io/inject",
    )
)
"""Labels and annotations of a pod that the handler takes: they lend nothing."""

CONTAINERS = ("initContainers", "containers")
Refusals = Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]]
"""What the handler refuses of a payload: a field as a path beneath spec.payload, and a sentence without its subject."""


def read_template(
    template: Mapping[str, Any], refusals: Refusals, notes: list[Note]
) -> tuple[dict[str, Any], str | None]:
    """Return the payload and the timeout of a jobTemplate; what is lost or will be refused is added to `notes`."""
    spec = _mapping(template.get("spec"))
    pod = _pod_template(_mapping(spec.get("template")), notes)
    payload: dict[str, Any] = {"template": pod, "backoffLimit": _bounded(spec, "backoffLimit", 6, notes)}
    if spec.get("ttlSecondsAfterFinished") is not None:
        payload["ttlSecondsAfterFinished"] = _bounded(spec, "ttlSecondsAfterFinished", 0, notes)
    lost = sorted(map(str, _lost(spec)))
    notes += [Note(Difference.TEMPLATE, f"jobTemplate.spec.{name} {_why(name)}") for name in lost]
    metadata = _mapping(template.get("metadata"))
    for kind in ("labels", "annotations"):
        if names := sorted(map(str, _mapping(metadata.get(kind)))):
            what = f"jobTemplate.metadata.{kind} {', '.join(names)}: a Job of the handler has its own alone"
            notes.append(Note(Difference.TEMPLATE, what))
    notes += [Note(Difference.REFUSED, f"{where}: {what}") for where, what in refusals(payload)]
    return payload, _timeout(spec, notes)


def _why(lost: str) -> str:
    """Return why a field of a Job's spec is lost."""
    if lost == "suspend":
        return "is lost: each Job begins at once, and waits for no queue that would begin it"
    return "has no equivalent: one pod at a time runs"


def _bounded(spec: Mapping[str, Any], name: str, default: int, notes: list[Note]) -> int:
    """Return a number of a Job's spec within what the handler takes; `default` is the Job's own, not the handler's."""
    low, high = BOUNDS[name]
    wanted = whole_number(spec[name], name) if spec.get(name) is not None else default
    if not low <= wanted <= high:
        notes.append(Note(Difference.TEMPLATE, f"{name} {wanted} is not within the {low} to {high} that are allowed"))
    return min(max(wanted, low), high)


def _lost(spec: Mapping[str, Any]) -> Iterator[str]:
    for name, value in spec.items():
        if name in KEPT | EMPTY or value is None or (name in ONE and value == 1) or (name == "suspend" and not value):
            continue
        if (name, value) not in (("completionMode", "NonIndexed"), ("podReplacementPolicy", "TerminatingOrFailed")):
            yield name


def _timeout(spec: Mapping[str, Any], notes: list[Note]) -> str | None:
    if spec.get("activeDeadlineSeconds") is None:
        return None
    seconds, longest = whole_number(spec["activeDeadlineSeconds"], "activeDeadlineSeconds"), LONGEST_TIMEOUT // SECOND
    if seconds > longest:
        notes.append(Note(Difference.TIMEOUT, f"{seconds} s is more than the 168h that timeout allows"))
    return format_duration(timedelta(seconds=min(max(seconds, 0), longest)))


def _pod_template(template: Mapping[str, Any], notes: list[Note]) -> dict[str, Any]:
    spec = _without(_mapping(template.get("spec")), POD_DEFAULTS)
    if spec.get("serviceAccount") == spec.get("serviceAccountName"):
        spec.pop("serviceAccount", None)  # an older name for the same, which the API server writes too
    if spec.get("restartPolicy") == "OnFailure":
        spec["restartPolicy"] = "Never"
        sentence = "restartPolicy OnFailure is Never here: what fails is started anew as another pod, by backoffLimit"
        notes.append(Note(Difference.TEMPLATE, sentence))
    for kind in CONTAINERS:
        if isinstance(spec.get(kind), list):
            spec[kind] = [_without(_mapping(container), CONTAINER_DEFAULTS) for container in spec[kind]]
    metadata = _marks(_mapping(template.get("metadata")), notes)
    return {**({"metadata": metadata} if metadata else {}), "spec": spec}


def _marks(metadata: Mapping[str, Any], notes: list[Note]) -> dict[str, Any]:
    """Return the labels and annotations that the handler lets a pod have."""
    kept: dict[str, Any] = {}
    for kind in ("labels", "annotations"):
        given = _mapping(metadata.get(kind))
        if marks := {key: value for key, value in given.items() if key in MARKS}:
            kept[kind] = marks
        if lost := sorted(map(str, given.keys() - MARKS)):
            sentence = f"{kind} of the pod are left out, which the handler refuses: {', '.join(lost)}"
            notes.append(Note(Difference.TEMPLATE, sentence))
    return kept


def _without(fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in defaults or value != defaults[key]}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
