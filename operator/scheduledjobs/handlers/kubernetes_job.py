"""The built-in handler `kubernetes-job`: one batch/v1 Job per attempt, waited for, its end the attempt's end.

The Job outlives the replica that made it. Its name follows from the attempt, so whoever goes on with the attempt finds
it and makes no second one; and once a Job is known to have been made (`note`), it is never made again, even if it is
not there any more. A Job is deleted when its attempt is stopped (timeout, cancel, Replace), and the attempt ends only
when the Job and its pods are gone. A replica that stops, or loses its trust, leaves it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from scheduledjobs.core.reasons import Reason
from scheduledjobs.errors import SpecError
from scheduledjobs.handlers.credentials import credentials
from scheduledjobs.handlers.execution import Execution
from scheduledjobs.handlers.following import Following
from scheduledjobs.handlers.job_manifest import manifest, name_of
from scheduledjobs.handlers.job_payload import KubernetesJobPayload, objections
from scheduledjobs.handlers.registry import handler
from scheduledjobs.kube.job_watch import JobWatch


@dataclass(slots=True)
class Allowed:
    """What the operator's settings allow, and what this process watches."""

    accounts: frozenset[str] = frozenset()
    watch: JobWatch = field(default_factory=JobWatch)


allowed = Allowed()


def allow_jobs(accounts: Sequence[str], namespaces: Sequence[str]) -> None:
    """Set the service accounts that pods may have, and the namespaces that may be watched (none: all)."""
    allowed.accounts, allowed.watch = frozenset(accounts), JobWatch(namespaces)


def check(namespace: str, payload: BaseModel) -> None:
    """Refuse, by `SpecError`, what a pod may not have, and credentials that this namespace may not use."""
    assert isinstance(payload, KubernetesJobPayload)  # noqa: S101 the registry has validated it
    found = [(f"spec.payload.{field}", sentence) for field, sentence in objections(payload, allowed.accounts)]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise SpecError(Reason.INVALID_PAYLOAD, f"{': '.join(found[0])}{more}", found)
    secrets_of(namespace, payload)


def secrets_of(namespace: str, payload: KubernetesJobPayload) -> list[str]:
    """Return the Secrets of the credentials that a payload names; `SpecError` where one cannot be used here."""
    found = []
    for place, name in enumerate(payload.credentials):
        where = f"spec.payload.credentials.{place}"
        secret = credentials.find(name, namespace, where).secret
        if secret is None:
            sentence = f"the operator was given no Secret for the credential {name!r}, only what it uses itself"
            raise SpecError(Reason.INVALID_PAYLOAD, f"{where}: {sentence}")
        found.append(secret)
    return found


@handler("kubernetes-job", payload=KubernetesJobPayload, check=check, survives=True)
async def kubernetes_job(execution: Execution, payload: KubernetesJobPayload) -> dict[str, Any]:
    """Run a Job and return how it ended."""

    def body() -> dict[str, Any]:
        check(execution.namespace, payload)  # what it asks for may have been taken away since it was claimed
        return manifest(execution, payload, secrets_of(execution.namespace, payload), allowed.accounts)

    async with allowed.watch.following(execution.namespace, name_of(execution)) as (door, followed):
        return await Following(execution, door, followed, payload.start_grace_seconds).run(body)
