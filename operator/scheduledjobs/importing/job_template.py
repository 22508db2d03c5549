"""A CronJob's jobTemplate as the payload of the handler kubernetes-job, and what that handler refuses.

Defaults that the API server has written into the pod's template are left out: they are in the way of who reads the
manifest, and would be written again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

VOLUMES = frozenset({"name", "configMap", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected"})
HOST = ("hostNetwork", "hostPID", "hostIPC")
CONTAINERS = ("initContainers", "containers")


def read_template(template: Mapping[str, Any], notes: list[Note]) -> tuple[dict[str, Any], str | None]:
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
    refusals = _refusals(_mapping(pod.get("spec")))
    notes += [Note(Difference.REFUSED, f"template.{where}: {what}") for where, what in refusals]
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


def _refusals(pod: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield where the handler will refuse a pod, and why or what to write instead."""
    for name in HOST:
        if pod.get(name):
            yield f"spec.{name}", "the handler refuses the host's namespaces"
    if pod.get("nodeName"):
        yield "spec.nodeName", "the handler refuses it: nodeSelector or affinity may be used"
    for volume in pod.get("volumes") or []:
        yield from _volume(f"spec.volumes[{volume.get('name')}]", volume)
    if pod.get("imagePullSecrets"):
        yield "spec.imagePullSecrets", "give them to the service account: the handler refuses names of Secrets"
    if pod.get("serviceAccountName") not in (None, "default"):
        yield "spec.serviceAccountName", f"{pod['serviceAccountName']} must be one that the operator was given"
    for kind in CONTAINERS:
        for container in pod.get(kind) or []:
            yield from _container(f"spec.{kind}[{container.get('name')}]", container)


CREDENTIALS = "the handler refuses names of Secrets; name a credential of the operator in payload.credentials"


def _volume(where: str, volume: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for kind in sorted(volume.keys() - VOLUMES):
        yield f"{where}.{kind}", CREDENTIALS if kind == "secret" else f"allowed are {', '.join(sorted(VOLUMES))}"
    for source in _mapping(volume.get("projected")).get("sources") or []:
        for kind in sorted({"secret", "serviceAccountToken"} & source.keys()):
            yield f"{where}.projected.{kind}", CREDENTIALS


def _container(where: str, container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    security = _mapping(container.get("securityContext"))
    if security.get("privileged"):
        yield f"{where}.securityContext.privileged", "the handler refuses privileged containers"
    if _mapping(security.get("capabilities")).get("add"):
        yield f"{where}.securityContext.capabilities.add", "the handler takes only what container runtimes give anyway"
    if any(_mapping(port).get("hostPort") for port in container.get("ports") or []):
        yield f"{where}.ports.hostPort", "the handler refuses ports of the node"
    for entry in container.get("env") or []:
        if "secretKeyRef" in _mapping(entry.get("valueFrom")):
            yield f"{where}.env[{entry.get('name')}]", CREDENTIALS
    if any("secretRef" in source for source in container.get("envFrom") or []):
        yield f"{where}.envFrom", CREDENTIALS


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
