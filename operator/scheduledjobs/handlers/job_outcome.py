"""What became of a Job, read from its status and its pods: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

HOPELESS = frozenset({"ErrImageNeverPull", "InvalidImageName"})
"""Waiting reasons that no time can mend, since the image of a pod does not change."""

CANNOT_START = HOPELESS | frozenset(
    (
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "RegistryUnavailable",
        "RunContainerError",
        "SignatureValidationFailed",
    )
)
"""Reasons for which the kubelet cannot start a container for now."""

WORTH_TELLING = frozenset({"FailedAttachVolume", "FailedCreate", "FailedCreatePodSandBox", "FailedMount"})
"""Reasons of Events that say why there is no container to ask."""

KILLED = 137


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why a Job does not get going. `is_hopeless`: waiting is no use."""

    text: str
    is_hopeless: bool = False


@dataclass(frozen=True, slots=True)
class PodEnd:
    """How the last pod of a Job ended, as far as it is known; `container` is the one that decided."""

    name: str
    container: str | None
    exit_code: int | None
    reason: str | None
    message: str | None
    has_logs: bool


def is_finished(job: Mapping[str, Any]) -> bool:
    """Return whether the Job has ended, well or badly, and all its pods with it."""
    return _condition(job, "Complete") is not None or _condition(job, "Failed") is not None


def is_complete(job: Mapping[str, Any]) -> bool:
    """Return whether the Job has ended well."""
    return _condition(job, "Complete") is not None


def is_started(job: Mapping[str, Any]) -> bool:
    """Return whether a pod of the Job is ready: what runs need not be asked what keeps it."""
    return bool((job.get("status") or {}).get("ready"))


def is_alive(pod: Mapping[str, Any]) -> bool:
    """Return whether a container of a pod may still run."""
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def times(job: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return startTime and completionTime as the Job has them; of a failed one, when it was said to have failed."""
    status = job.get("status") or {}
    failed = _condition(job, "Failed") or {}
    return status.get("startTime"), status.get("completionTime") or failed.get("lastTransitionTime")


def newest_pod(pods: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the pod that was made last, of at least one."""
    return max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))


def is_pending(pod: Mapping[str, Any]) -> bool:
    """Return whether no container of a pod has started."""
    return (pod.get("status") or {}).get("phase") in (None, "Pending")


def last_pod(pods: Sequence[Mapping[str, Any]]) -> PodEnd | None:
    """Return how the newest pod ended, or None where there is none any more."""
    if not pods:
        return None
    newest = newest_pod(pods)
    status = newest.get("status") or {}
    deciding = _deciding(newest.get("spec") or {}, status)
    ended = ((deciding or {}).get("state") or {}).get("terminated") or {}
    disrupted = _of_type(status.get("conditions") or [], "DisruptionTarget") or {}
    reason = status.get("reason") or disrupted.get("reason") or ended.get("reason")
    message = status.get("message") or disrupted.get("message") or ended.get("message")
    return PodEnd(
        name=newest["metadata"]["name"],
        container=None if deciding is None else deciding.get("name"),
        exit_code=ended.get("exitCode"),
        reason=reason,
        message=message,
        has_logs=bool(ended),
    )


def _deciding(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the container that failed, else the first of the pod's own.

    Init containers are looked at only where none of its own has run: a sidecar among them is stopped by the kubelet at
    the pod's end, and its exit code (mostly 143) says nothing of the work.
    """
    own = _in_order(spec.get("containers") or [], status.get("containerStatuses") or [])
    failed = [one for one in own if _exit_code(one)]
    if not failed and not any(map(_has_run, own)):
        inits = spec.get("initContainers") or []
        sidecars = {one.get("name") for one in inits if one.get("restartPolicy") == "Always"}
        failed = [one for one in _in_order(inits, status.get("initContainerStatuses") or []) if _exit_code(one)]
        failed.sort(key=lambda one: one.get("name") in sidecars)
    return next(iter(failed or own), None)


def _in_order(
    containers: Sequence[Mapping[str, Any]], statuses: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return statuses as the pod's spec lists their containers: the kubelet sorts them by name."""
    places = {one.get("name"): place for place, one in enumerate(containers)}
    return sorted(statuses, key=lambda one: places.get(one.get("name"), len(places)))


def _has_run(container: Mapping[str, Any]) -> bool:
    state = container.get("state") or {}
    return bool(state.get("running") or state.get("terminated") or (container.get("lastState") or {}).get("terminated"))


def _exit_code(container: Mapping[str, Any]) -> int:
    return int(((container.get("state") or {}).get("terminated") or {}).get("exitCode") or 0)


def result_of(job: Mapping[str, Any], pod: PodEnd | None) -> dict[str, Any]:
    """Return the execution's result: names, exit code, reason and times of a finished Job."""
    started, ended = times(job)
    failed = _condition(job, "Failed") or {}
    return {
        "job": job["metadata"]["name"],
        "pod": pod.name if pod else None,
        "exitCode": pod.exit_code if pod else None,
        "reason": (pod.reason if pod else None) or failed.get("reason"),
        "startTime": started,
        "completionTime": ended,
        "durationSeconds": _seconds(started, ended),
    }


def failure_of(job: Mapping[str, Any], pod: PodEnd | None) -> str:
    """Return why a failed Job failed, as a sentence for people."""
    failed = _condition(job, "Failed") or {}
    by_kubernetes = f"{failed.get('reason', 'Failed')}: {failed.get('message', 'the Job has failed')}"
    if failed.get("reason") == "DeadlineExceeded" or pod is None:
        return by_kubernetes
    if pod.reason == "OOMKilled":
        return f"OOMKilled: container {pod.container} of pod {pod.name} used more memory than its limit allows"
    if pod.exit_code is None or (pod.reason and pod.reason not in ("Error", "Completed")):
        said = f": {pod.message.strip()}" if pod.message else ""
        code = f" (exit code {pod.exit_code})" if pod.exit_code is not None else ""
        return f"{pod.reason or by_kubernetes}{said}{code}; pod {pod.name}"
    killed = ", killed by SIGKILL" if pod.exit_code == KILLED else ""
    said = f": {pod.message.strip()}" if pod.message else ""
    return f"exit code {pod.exit_code}{killed} of container {pod.container}, pod {pod.name}{said}"


def complaint_of_pods(pods: Iterable[Mapping[str, Any]]) -> Complaint | None:
    """Return why a container of these pods cannot start, in the kubelet's words, or None."""
    for pod in pods:
        status = pod.get("status") or {}
        for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            waiting = (container.get("state") or {}).get("waiting") or {}
            reason = waiting.get("reason")
            if reason in CANNOT_START:
                said = f": {waiting['message']}" if waiting.get("message") else ""
                return Complaint(f"{reason}{said} (pod {pod['metadata']['name']})", reason in HOPELESS)
    return None


def complaint_of_events(events: Sequence[Mapping[str, Any]]) -> Complaint | None:
    """Return what the newest Event says of why there is no pod, or no container in it; None if nothing does."""
    newest = newest_event(events)
    return None if newest is None else Complaint(f"{newest['reason']}: {newest.get('message', '')}".rstrip(": "))


def newest_event(events: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the newest of these Events that says what keeps a pod, or None."""
    worth = [event for event in events if event.get("reason") in WORTH_TELLING]
    return max(worth, key=seen_at, default=None)


def seen_at(event: Mapping[str, Any]) -> str:
    """Return when an Event was seen last, as it says itself."""
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


def _condition(job: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    return _of_type((job.get("status") or {}).get("conditions") or [], kind)


def _of_type(conditions: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    return next((one for one in conditions if one.get("type") == kind and one.get("status") == "True"), None)


def _seconds(started: str | None, ended: str | None) -> float | None:
    if started is None or ended is None:
        return None
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()
