"""The Job of one attempt: a name that follows from the attempt, so that whoever goes on with it finds the same Job."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import timedelta
from typing import Any

from scheduledjobs.core.resource import GROUP, KIND, VERSION
from scheduledjobs.handlers.execution import Execution
from scheduledjobs.handlers.job_payload import DEFAULT_ACCOUNT, KubernetesJobPayload
from scheduledjobs.kube.jobs import MANAGED_BY

LONGEST_NAME = 63
"""Of a label's value, and the name of a Job becomes one on its pods."""

HASH = 10
BACKSTOP = timedelta(seconds=60)
"""Kubernetes ends a Job so long after its timeout, where no replica has been alive to do it in time."""

JOB = f"{GROUP}/job"
EXECUTION = f"{GROUP}/execution"
ATTEMPT = f"{GROUP}/attempt"
FIRE_TIME = f"{GROUP}/fire-time"
KEY = f"{GROUP}/idempotency-key"
CONTAINER = "job"


def name_of(execution: Execution) -> str:
    """Return the name of the attempt's Job, at most 63 characters: the job's name and a hash of which attempt it is.

    Of the idempotency key, not of the row's number: a database that was begun anew counts its rows from 1 again.
    """
    text = f"{execution.idempotency_key}#{execution.attempt}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:HASH]
    kept = execution.job.replace(".", "-")[: LONGEST_NAME - HASH - 1].rstrip("-")
    return f"{kept}-{digest}"


def labels_of(execution: Execution) -> dict[str, str]:
    """Return the labels of the Job and of its pods."""
    return {
        "app.kubernetes.io/managed-by": MANAGED_BY,
        JOB: execution.job,
        EXECUTION: str(execution.id),
        ATTEMPT: str(execution.attempt),
    }


def is_ours(job: Mapping[str, Any], execution: Execution) -> bool:
    """Return whether this Job was made for this very attempt, as its labels and its owner say."""
    meta = job.get("metadata") or {}
    labels = meta.get("labels") or {}
    owners = {str(one.get("uid")) for one in meta.get("ownerReferences") or []}
    wanted = labels_of(execution)
    return all(labels.get(key) == value for key, value in wanted.items()) and str(execution.job_id) in owners


def manifest(
    execution: Execution, payload: KubernetesJobPayload, secrets: Sequence[str], accounts: frozenset[str]
) -> dict[str, Any]:
    """Return the Job to create. `secrets` are names of Secrets that become environment variables of its containers."""
    labels = labels_of(execution)
    template = _template(payload)
    given = _mapping(template.get("metadata"))
    template["metadata"] = {**given, "labels": {**_mapping(given.get("labels")), **labels}}
    _complete(template["spec"], execution, secrets, accounts)
    spec: dict[str, Any] = {
        "backoffLimit": payload.backoff_limit,
        "ttlSecondsAfterFinished": payload.ttl_seconds_after_finished,
        "template": template,
    }
    if execution.timeout is not None:
        spec["activeDeadlineSeconds"] = math.ceil((execution.timeout + BACKSTOP).total_seconds())
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name_of(execution),
            "namespace": execution.namespace,
            "labels": labels,
            "annotations": {FIRE_TIME: _fire_time(execution), KEY: execution.idempotency_key},
            "ownerReferences": [
                {
                    "apiVersion": f"{GROUP}/{VERSION}",
                    "kind": KIND,
                    "name": execution.job,
                    "uid": str(execution.job_id),
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": spec,
    }


def _template(payload: KubernetesJobPayload) -> dict[str, Any]:
    if payload.template is not None:
        return deepcopy(payload.template)
    given = {
        "command": payload.command,
        "args": payload.args,
        "env": [{"name": name, "value": value} for name, value in (payload.env or {}).items()] or None,
        "resources": payload.resources,
    }
    container = {"name": CONTAINER, "image": payload.image} | {k: v for k, v in given.items() if v is not None}
    container["securityContext"] = {"allowPrivilegeEscalation": False}
    spec: dict[str, Any] = {
        "containers": [container],
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
    }
    if payload.service_account_name is not None:
        spec["serviceAccountName"] = payload.service_account_name
    return {"spec": spec}


def _complete(spec: dict[str, Any], execution: Execution, secrets: Sequence[str], accounts: frozenset[str]) -> None:
    """Set what is the operator's to say: no restarts, no token that was not allowed, what the pod is told."""
    spec["restartPolicy"] = "Never"
    account = spec.get("serviceAccountName") or spec.get("serviceAccount") or DEFAULT_ACCOUNT
    if account not in accounts:
        spec["automountServiceAccountToken"] = False
    for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
        given = list(container.get("env") or [])
        taken = {variable.get("name") for variable in given if isinstance(variable, Mapping)}
        told = [{"name": name, "value": value} for name, value in _told(execution).items() if name not in taken]
        container["env"] = told + given  # first, so that the others can name them: $(SCHEDULEDJOBS_FIRE_TIME)
        if secrets:
            named = [{"secretRef": {"name": name}} for name in secrets]
            container["envFrom"] = [*(container.get("envFrom") or []), *named]


def _told(execution: Execution) -> dict[str, str]:
    return {
        "SCHEDULEDJOBS_NAMESPACE": execution.namespace,
        "SCHEDULEDJOBS_JOB": execution.job,
        "SCHEDULEDJOBS_EXECUTION": str(execution.id),
        "SCHEDULEDJOBS_ATTEMPT": str(execution.attempt),
        "SCHEDULEDJOBS_FIRE_TIME": _fire_time(execution),
        "SCHEDULEDJOBS_IDEMPOTENCY_KEY": execution.idempotency_key,
    }


def _fire_time(execution: Execution) -> str:
    return execution.idempotency_key.split("/")[1]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
