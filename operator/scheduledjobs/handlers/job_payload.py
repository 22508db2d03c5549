"""The payload of `kubernetes-job`, and what a pod template may not ask for.

Who may write ScheduledJobs may not be allowed to make pods, and the operator makes them with its own rights. So it
refuses what would lend out more than that: what the Pod Security Standard *baseline* refuses, every Secret that was not
given by name, service accounts that were not allowed, and names by which a pod is taken for another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

DEFAULT_ACCOUNT = "default"
SHORT = ("command", "args", "env", "resources", "service_account_name")
VOLUMES = frozenset({"name", "configMap", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected"})
SOURCES = frozenset({"configMap", "downwardAPI", "clusterTrustBundle"})
CAPABILITIES = frozenset(
    (
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    )
)
"""What the baseline lets a container add: what container runtimes give by default."""

MARKS = frozenset(
    (
        "cluster-autoscaler.kubernetes.io/safe-to-evict",
        "karpenter.sh/do-not-disrupt",
        "linkerd.io/inject",
        "sidecar.istio.io/inject",
    )
)
"""Labels and annotations that lend nothing. Others can put a pod behind a Service, or through a NetworkPolicy."""

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
HOOKS = ("postStart", "preStop")
CALLS = ("httpGet", "tcpSocket")
Objection = tuple[str, str]
"""A field as a path beneath spec.payload, and a sentence without its subject."""


class KubernetesJobPayload(BaseModel):
    """The pod to run: `image` and what goes with it, or a whole `template`."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)

    image: str | None = Field(default=None, min_length=1, max_length=1024, description="Image of the one container")
    command: list[str] | None = Field(default=None, max_length=256, description="Instead of the image's entrypoint")
    args: list[str] | None = Field(default=None, max_length=256, description="Arguments of the command or entrypoint")
    env: dict[str, str] | None = Field(
        default=None, max_length=256, description="Environment variables; not for secrets"
    )
    resources: dict[str, Any] | None = Field(default=None, description="Requests and limits, as in a container")
    service_account_name: str | None = Field(
        default=None, min_length=1, max_length=253, description="One that the operator was allowed; none: no token"
    )
    template: dict[str, Any] | None = Field(
        default=None, description="A pod template (metadata, spec) as in a Job, instead of image and what goes with it"
    )
    credentials: list[str] = Field(
        default_factory=list, max_length=16, description="Credentials whose Secrets become environment variables"
    )
    ttl_seconds_after_finished: int = Field(
        default=3600, ge=60, le=604_800, description="How long the Job is kept after its end"
    )
    backoff_limit: int = Field(
        default=0, ge=0, le=10, description="Pods that Kubernetes may start in place of failed ones, within one attempt"
    )
    start_grace_seconds: int = Field(
        default=300,
        ge=1,
        le=3600,
        description="How long a pod that cannot start is waited for before the attempt fails",
    )

    @model_validator(mode="after")
    def _is_one_form(self) -> KubernetesJobPayload:
        if (self.image is None) == (self.template is None):
            raise ValueError("set exactly one of image (with command, args, env, resources) and template")
        given = [to_camel(name) for name in SHORT if getattr(self, name) is not None]
        if self.template is not None and given:
            raise ValueError(f"{', '.join(given)}: goes with image; with template it belongs into template.spec")
        return self


def objections(payload: KubernetesJobPayload, accounts: frozenset[str]) -> list[Objection]:
    """Return what a payload asks for and must not have; `accounts` are the service accounts that are allowed."""
    if payload.template is None:
        return list(_account("", payload.service_account_name, accounts))
    return list(_template(payload.template, accounts))


def _template(template: Mapping[str, Any], accounts: frozenset[str]) -> Iterator[Objection]:
    for name in sorted(template.keys() - {"metadata", "spec"}):
        yield f"template.{name}", "is no field of a pod template: those are metadata and spec"
    yield from _metadata(_mapping(template.get("metadata")))
    spec = template.get("spec")
    if not isinstance(spec, Mapping) or not _list(spec.get("containers")):
        yield "template.spec.containers", "must be a list with at least one container"
        return
    yield from _node("template.spec", spec)
    yield from _accounts("template.spec", spec, accounts)
    yield from _security("template.spec.securityContext", _mapping(spec.get("securityContext")))
    for place, volume in enumerate(_list(spec.get("volumes"))):
        yield from _volume(f"template.spec.volumes.{place}", _mapping(volume))
    for kind in ("containers", "initContainers"):
        yield from _lists("template.spec", spec, (kind,))
        for place, container in enumerate(_list(spec.get(kind))):
            yield from _container(f"template.spec.{kind}.{place}", container)


def _metadata(metadata: Mapping[str, Any]) -> Iterator[Objection]:
    where = "template.metadata"
    for name in sorted(metadata.keys() - {"labels", "annotations"}):
        yield f"{where}.{name}", "must not be set: labels and annotations may"
    for name in ("labels", "annotations"):
        for key in sorted(_mapping(metadata.get(name)).keys() - MARKS):
            hint = "the pods have the label scheduledjobs.dev/job, for policies to select"
            yield f"{where}.{name}.{key}", f"must not be set: allowed are {_names(MARKS)}; {hint}"


def _node(where: str, spec: Mapping[str, Any]) -> Iterator[Objection]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield f"{where}.{name}", "must not be set: the pod would see the node, or other pods"
    for name, why in (
        ("nodeName", "passes over the scheduler: use nodeSelector or affinity"),
        ("imagePullSecrets", "refers to Secrets: give them to the service account, or to the nodes"),
        ("ephemeralContainers", "is no part of a template"),
    ):
        if spec.get(name):
            yield f"{where}.{name}", f"must not be set: it {why}"
    if str(spec.get("priorityClassName") or "").startswith("system-"):
        yield f"{where}.priorityClassName", "must not be one of the system's: the pod would push out others"
    if spec.get("restartPolicy") not in (None, "Never"):
        yield f"{where}.restartPolicy", "must be Never: spec.retry of the ScheduledJob starts another attempt"


def _accounts(where: str, spec: Mapping[str, Any], accounts: frozenset[str]) -> Iterator[Objection]:
    for name in ("serviceAccountName", "serviceAccount"):
        yield from _account(f"{where}.{name}", spec.get(name), accounts)
    account = spec.get("serviceAccountName") or spec.get("serviceAccount") or DEFAULT_ACCOUNT
    if spec.get("automountServiceAccountToken") and str(account) not in accounts:
        sentence = f"must not be set: the service account {account} was not allowed"
        yield f"{where}.automountServiceAccountToken", sentence


def _lists(where: str, parent: Mapping[str, Any], names: Sequence[str]) -> Iterator[Objection]:
    for name in names:
        if parent.get(name) is not None and not isinstance(parent[name], list):
            yield f"{where}.{name}", "must be a list"


def _account(where: str, name: object, accounts: frozenset[str]) -> Iterator[Objection]:
    if name is None or (isinstance(name, str) and name in accounts | {DEFAULT_ACCOUNT}):
        return
    allowed = ", ".join(sorted(accounts | {DEFAULT_ACCOUNT}))
    yield where or "serviceAccountName", f"must be one that the operator was allowed: {allowed}"


def _volume(where: str, volume: Mapping[str, Any]) -> Iterator[Objection]:
    for kind in sorted(map(str, volume.keys() - VOLUMES)):
        if volume.get(kind) is not None:
            why = (
                "Secrets are given by credentials" if kind == "secret" else f"allowed are {_names(VOLUMES - {'name'})}"
            )
            yield f"{where}.{kind}", f"must not be set: {why}"
    for place, source in enumerate(_list(_mapping(volume.get("projected")).get("sources"))):
        for kind in sorted(map(str, _mapping(source).keys() - SOURCES)):
            yield f"{where}.projected.sources.{place}.{kind}", f"must not be set: allowed are {_names(SOURCES)}"


def _container(where: str, container: object) -> Iterator[Objection]:
    if not isinstance(container, dict):
        yield where, "must be an object"
        return
    yield from _lists(where, container, ("env", "envFrom", "ports"))
    for place, variable in enumerate(_list(container.get("env"))):
        if _mapping(_mapping(variable).get("valueFrom")).get("secretKeyRef") is not None:
            yield f"{where}.env.{place}.valueFrom.secretKeyRef", "must not be set: Secrets are given by credentials"
    for place, source in enumerate(_list(container.get("envFrom"))):
        if _mapping(source).get("secretRef") is not None:
            yield f"{where}.envFrom.{place}.secretRef", "must not be set: Secrets are given by credentials"
    for place, port in enumerate(_list(container.get("ports"))):
        if _mapping(port).get("hostPort"):
            yield f"{where}.ports.{place}.hostPort", "must not be set: it takes a port of the node"
    yield from _calls(where, container)
    yield from _security(f"{where}.securityContext", _mapping(container.get("securityContext")))


def _calls(where: str, container: Mapping[str, Any]) -> Iterator[Objection]:
    called = [(name, _mapping(container.get(name))) for name in PROBES]
    lifecycle = _mapping(container.get("lifecycle"))
    called += [(f"lifecycle.{name}", _mapping(lifecycle.get(name))) for name in HOOKS]
    for name, probe in called:
        for call in CALLS:
            if _mapping(probe.get(call)).get("host"):
                yield f"{where}.{name}.{call}.host", "must not be set: the node would call it"


def _security(where: str, context: Mapping[str, Any]) -> Iterator[Objection]:
    if context.get("privileged"):
        yield f"{where}.privileged", "must not be set"
    for name in ("seLinuxOptions", "sysctls"):
        if context.get(name):
            yield f"{where}.{name}", "must not be set"
    if context.get("procMount") not in (None, "Default"):
        yield f"{where}.procMount", "must be Default"
    for name in ("seccompProfile", "appArmorProfile"):
        if _mapping(context.get(name)).get("type") == "Unconfined":
            yield f"{where}.{name}.type", "must not be Unconfined"
    if _mapping(context.get("windowsOptions")).get("hostProcess"):
        yield f"{where}.windowsOptions.hostProcess", "must not be set"
    for name in _list(_mapping(context.get("capabilities")).get("add")):
        if not isinstance(name, str) or name not in CAPABILITIES:
            yield f"{where}.capabilities.add", f"must not name {name}: allowed are {_names(CAPABILITIES)}"


def _names(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
