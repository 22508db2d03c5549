"""The handler kubernetes-job without a cluster: names, the Job that is made, what is refused, how an end is read."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from scheduledjobs.core.plan import Judge
from scheduledjobs.core.reasons import Reason, Trigger
from scheduledjobs.errors import SpecError
from scheduledjobs.handlers import Execution, Registry
from scheduledjobs.handlers import kubernetes_job as module
from scheduledjobs.handlers.credentials import allow_credentials
from scheduledjobs.handlers.job_manifest import is_ours, manifest, name_of
from scheduledjobs.handlers.job_outcome import (
    Complaint,
    complaint_of_events,
    complaint_of_pods,
    failure_of,
    is_complete,
    is_finished,
    last_pod,
    result_of,
)
from scheduledjobs.handlers.job_payload import KubernetesJobPayload
from scheduledjobs.handlers.job_trouble import Trouble
from scheduledjobs.handlers.kubernetes_job import allow_jobs, check
from scheduledjobs.handlers.registry import SURVIVES_ANYWHERE
from scheduledjobs.handlers.setting_up import set_up_handlers
from scheduledjobs.settings import load
from scheduledjobs.web.ui.payload import payload_fields

NIGHT = datetime(2026, 11, 23, 2, tzinfo=UTC)
EXECUTION = Execution(
    namespace="finance",
    job="report",
    job_id=UUID(int=7),
    fire_time=NIGHT,
    attempt=1,
    trigger=Trigger.SCHEDULE,
    run_key="",
    deadline=None,
    missed_count=None,
    first_missed_at=None,
    id=42,
)


@pytest.fixture(autouse=True)
def _allowed() -> Any:
    allow_jobs(["reporter"], [])
    allow_credentials(
        {
            "mail": {"namespaces": ["finance"], "secret": "mail-login"},
            "inside": {"namespaces": ["finance"], "path": "/secrets/inside"},
            "theirs": {"namespaces": ["sales"], "secret": "x"},
        }
    )
    yield
    allow_jobs([], [])
    allow_credentials({})


def payload(**fields: Any) -> KubernetesJobPayload:
    return KubernetesJobPayload.model_validate(fields)


def made(execution: Execution = EXECUTION, **fields: Any) -> dict[str, Any]:
    of = payload(**(fields or {"image": "report:1"}))
    return manifest(execution, of, module.secrets_of(execution.namespace, of), module.allowed.accounts)


# Names.


def test_a_name_follows_from_the_attempt_and_from_nothing_else() -> None:
    assert name_of(EXECUTION) == name_of(replace(EXECUTION, claim_no=9, replica=UUID(int=3), id=99))
    assert re.fullmatch(r"report-[0-9a-f]{10}", name_of(EXECUTION))
    others = {
        "another attempt": replace(EXECUTION, attempt=2),
        "another moment": replace(EXECUTION, fire_time=NIGHT + timedelta(seconds=1)),
        "another run now": replace(EXECUTION, run_key="token"),
        "a job created again": replace(EXECUTION, job_id=UUID(int=8)),
    }
    assert len({name_of(EXECUTION), *map(name_of, others.values())}) == 1 + len(others)


@pytest.mark.parametrize("job", ["x" * 63, "a.b.c", "x" * 51 + ".y", "x" * 51 + "-y"])
def test_a_name_is_one_that_pods_can_be_labelled_with(job: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name_of(replace(EXECUTION, job=job)))
    assert "--" not in name_of(replace(EXECUTION, job=job))


# The Job.


def test_the_short_form_becomes_a_pod_of_one_container() -> None:
    job = made(
        image="report:1", command=["run"], args=["--fast"], env={"A": "1"}, resources={"limits": {"memory": "1Gi"}}
    )
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert (container["image"], container["command"], container["args"]) == ("report:1", ["run"], ["--fast"])
    assert container["resources"] == {"limits": {"memory": "1Gi"}}
    assert {"name": "A", "value": "1"} in container["env"]
    assert spec["restartPolicy"] == "Never"
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}


def test_a_job_says_whose_it_is_and_ends_without_the_operator() -> None:
    job = made(replace(EXECUTION, timeout=timedelta(seconds=90.5)))
    assert job["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "scheduledjobs",
        "scheduledjobs.dev/job": "report",
        "scheduledjobs.dev/execution": "42",
        "scheduledjobs.dev/attempt": "1",
    }
    assert job["spec"]["template"]["metadata"]["labels"] == job["metadata"]["labels"]
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("ScheduledJob", "report", str(UUID(int=7)))
    assert (job["spec"]["backoffLimit"], job["spec"]["ttlSecondsAfterFinished"]) == (0, 3600)
    assert job["spec"]["activeDeadlineSeconds"] == 151  # the timeout, rounded up, and a minute
    assert "activeDeadlineSeconds" not in made()["spec"]


def test_every_container_is_told_what_it_runs_for() -> None:
    containers = [{"name": "a", "env": [{"name": "SCHEDULEDJOBS_JOB", "value": "mine"}]}, {"name": "b"}]
    job = made(template={"spec": {"containers": containers, "initContainers": [{"name": "c"}]}})
    spec = job["spec"]["template"]["spec"]
    told = [{one["name"]: one["value"] for one in c["env"]} for c in [*spec["containers"], *spec["initContainers"]]]
    assert told[0]["SCHEDULEDJOBS_JOB"] == "mine"
    assert told[1] == {
        "SCHEDULEDJOBS_NAMESPACE": "finance",
        "SCHEDULEDJOBS_JOB": "report",
        "SCHEDULEDJOBS_EXECUTION": "42",
        "SCHEDULEDJOBS_ATTEMPT": "1",
        "SCHEDULEDJOBS_FIRE_TIME": "2026-11-23T02:00:00.000Z",
        "SCHEDULEDJOBS_IDEMPOTENCY_KEY": EXECUTION.idempotency_key,
    }
    assert told[2]["SCHEDULEDJOBS_ATTEMPT"] == "1"


def test_a_template_of_a_payload_is_not_changed_by_making_a_job_of_it() -> None:
    of = payload(template={"spec": {"containers": [{"name": "a", "image": "i"}]}})
    first = manifest(EXECUTION, of, [], frozenset())
    assert manifest(EXECUTION, of, [], frozenset()) == first
    assert of.template == {"spec": {"containers": [{"name": "a", "image": "i"}]}}


def test_a_credential_becomes_environment_variables_of_its_secret() -> None:
    (container,) = made(image="i", credentials=["mail"])["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "mail-login"}}]


def test_an_allowed_service_account_brings_its_token_and_another_does_not() -> None:
    allowed = made(image="i", serviceAccountName="reporter")["spec"]["template"]["spec"]
    assert (allowed["serviceAccountName"], "automountServiceAccountToken" in allowed) == ("reporter", False)
    assert made()["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_a_job_of_another_attempt_or_owner_is_not_ours() -> None:
    job = made()
    assert is_ours(job, EXECUTION)
    assert not is_ours(job, replace(EXECUTION, id=43))
    assert not is_ours(job, replace(EXECUTION, attempt=2))
    assert not is_ours(job, replace(EXECUTION, job_id=UUID(int=8)))
    assert not is_ours({"metadata": {"name": job["metadata"]["name"]}}, EXECUTION)


# What is refused.


def pod(**spec: Any) -> dict[str, Any]:
    return {"template": {"spec": {"containers": [{"name": "a", "image": "i"}], **spec}}}


def container(**fields: Any) -> dict[str, Any]:
    return pod(containers=[{"name": "a", "image": "i", **fields}])


CONTAINER = "template.spec.containers.0"
REFUSED = {
    "template.spec.hostNetwork": pod(hostNetwork=True),
    "template.spec.hostPID": pod(hostPID=True),
    "template.spec.hostIPC": pod(hostIPC=True),
    "template.spec.nodeName": pod(nodeName="control-plane"),
    "template.spec.imagePullSecrets": pod(imagePullSecrets=[{"name": "x"}]),
    "template.spec.priorityClassName": pod(priorityClassName="system-node-critical"),
    "template.spec.restartPolicy": pod(restartPolicy="OnFailure"),
    "template.spec.serviceAccountName": pod(serviceAccountName="cluster-admin"),
    "template.spec.serviceAccount": pod(serviceAccount="cluster-admin"),
    "template.spec.automountServiceAccountToken": pod(automountServiceAccountToken=True),
    "template.spec.ephemeralContainers": pod(ephemeralContainers=[{"name": "x"}]),
    "template.spec.securityContext.sysctls": pod(securityContext={"sysctls": [{"name": "x", "value": "1"}]}),
    "template.spec.securityContext.seLinuxOptions": pod(securityContext={"seLinuxOptions": {"type": "spc_t"}}),
    "template.spec.securityContext.seccompProfile.type": pod(
        securityContext={"seccompProfile": {"type": "Unconfined"}}
    ),
    "template.spec.securityContext.windowsOptions.hostProcess": pod(
        securityContext={"windowsOptions": {"hostProcess": True}}
    ),
    "template.spec.volumes.0.hostPath": pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
    "template.spec.volumes.0.secret": pod(volumes=[{"name": "v", "secret": {"secretName": "x"}}]),
    "template.spec.volumes.0.csi": pod(volumes=[{"name": "v", "csi": {"driver": "secrets-store.csi.k8s.io"}}]),
    "template.spec.volumes.0.nfs": pod(volumes=[{"name": "v", "nfs": {"server": "x", "path": "/"}}]),
    "template.spec.volumes.0.projected.sources.1.secret": pod(
        volumes=[{"name": "v", "projected": {"sources": [{"configMap": {"name": "x"}}, {"secret": {"name": "x"}}]}}]
    ),
    "template.spec.volumes.0.projected.sources.0.serviceAccountToken": pod(
        volumes=[{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]
    ),
    f"{CONTAINER}.securityContext.privileged": container(securityContext={"privileged": True}),
    f"{CONTAINER}.securityContext.procMount": container(securityContext={"procMount": "Unmasked"}),
    f"{CONTAINER}.securityContext.appArmorProfile.type": container(
        securityContext={"appArmorProfile": {"type": "Unconfined"}}
    ),
    f"{CONTAINER}.securityContext.capabilities.add": container(
        securityContext={"capabilities": {"add": ["NET_BIND_SERVICE", "SYS_ADMIN"]}}
    ),
    f"{CONTAINER}.env.0.valueFrom.secretKeyRef": container(
        env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "x", "key": "y"}}}]
    ),
    f"{CONTAINER}.envFrom.1.secretRef": container(
        envFrom=[{"configMapRef": {"name": "x"}}, {"secretRef": {"name": "x"}}]
    ),
    f"{CONTAINER}.ports.0.hostPort": container(ports=[{"containerPort": 80, "hostPort": 80}]),
    f"{CONTAINER}.livenessProbe.httpGet.host": container(livenessProbe={"httpGet": {"host": "169.254.169.254"}}),
    f"{CONTAINER}.lifecycle.preStop.tcpSocket.host": container(lifecycle={"preStop": {"tcpSocket": {"host": "x"}}}),
    "template.spec.initContainers.0.securityContext.privileged": pod(
        initContainers=[{"name": "b", "securityContext": {"privileged": True}}]
    ),
    "template.spec.initContainers.0.envFrom.0.secretRef": pod(
        initContainers=[{"name": "b", "envFrom": [{"secretRef": {"name": "x"}}]}]
    ),
    "template.metadata.labels.app": {"template": {**pod()["template"], "metadata": {"labels": {"app": "payments"}}}},
    "template.metadata.annotations.iam.amazonaws.com/role": {
        "template": {**pod()["template"], "metadata": {"annotations": {"iam.amazonaws.com/role": "admin"}}}
    },
    "template.metadata.name": {"template": {**pod()["template"], "metadata": {"name": "x"}}},
    "template.backoffLimit": {"template": {**pod()["template"], "backoffLimit": 3}},
    "template.spec.containers": {"template": {"spec": {"containers": {"0": {"image": "i"}}}}},
    "template.spec.initContainers": pod(initContainers={"0": {"securityContext": {"privileged": True}}}),
    f"{CONTAINER}.env": container(env={"A": "1"}),
    CONTAINER: pod(containers=["i"]),
    "serviceAccountName": {"image": "i", "serviceAccountName": "cluster-admin"},
    "credentials.0": {"image": "i", "credentials": ["theirs"]},
    "credentials.1": {"image": "i", "credentials": ["mail", "inside"]},
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_would_lend_more_than_was_allowed_is_refused_by_its_name(field: str) -> None:
    with pytest.raises(SpecError) as refused:
        check("finance", payload(**REFUSED[field]))
    assert refused.value.reason is Reason.INVALID_PAYLOAD
    assert refused.value.message.startswith(f"spec.payload.{field}: ")


@pytest.mark.parametrize("name", [{"a": 1}, ["reporter"], 1])
def test_a_name_that_is_no_text_is_refused_as_one_that_is_not_allowed(name: object) -> None:
    asked = {
        "template.spec.serviceAccountName": pod(serviceAccountName=name, automountServiceAccountToken=True),
        "template.spec.serviceAccount": pod(serviceAccount=name),
        f"{CONTAINER}.securityContext.capabilities.add": container(securityContext={"capabilities": {"add": [name]}}),
    }
    for field, fields in asked.items():
        with pytest.raises(SpecError) as refused:
            check("finance", payload(**fields))
        assert refused.value.fields[0][0] == f"spec.payload.{field}"


def test_everything_that_is_refused_is_named_at_once() -> None:
    with pytest.raises(SpecError) as refused:
        check("finance", payload(**pod(hostPID=True, hostNetwork=True)))
    assert [field for field, _ in refused.value.fields] == [
        "spec.payload.template.spec.hostNetwork",
        "spec.payload.template.spec.hostPID",
    ]
    assert refused.value.message.endswith("(and 1 more)")


ALLOWED = {
    "an image": {"image": "i"},
    "a credential": {"image": "i", "credentials": ["mail"]},
    "an allowed account": {"image": "i", "serviceAccountName": "reporter"},
    "its token": pod(serviceAccountName="reporter", automountServiceAccountToken=True),
    "the default account": pod(serviceAccountName="default", automountServiceAccountToken=False),
    "volumes": pod(volumes=[{"name": "a", "emptyDir": {}}, {"name": "b", "persistentVolumeClaim": {"claimName": "c"}}]),
    "a projected config map": pod(volumes=[{"name": "a", "projected": {"sources": [{"configMap": {"name": "x"}}]}}]),
    "restricted": container(securityContext={"privileged": False, "capabilities": {"drop": ["ALL"]}}),
    "a sidecar's mark": {
        "template": {**pod()["template"], "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}}}
    },
    "what is false": pod(hostNetwork=False, hostPID=None, restartPolicy="Never"),
}


@pytest.mark.parametrize("what", ALLOWED)
def test_what_lends_nothing_is_allowed(what: str) -> None:
    check("finance", payload(**ALLOWED[what]))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "set exactly one of image"),
        ({"image": "i", **pod()}, "set exactly one of image"),
        ({**pod(), "args": ["x"], "serviceAccountName": "reporter"}, "args, serviceAccountName: goes with image"),
        ({"image": "i", "ttlSecondsAfterFinished": 5}, "ttlSecondsAfterFinished: Input should be greater"),
        ({"image": "i", "imagee": "i"}, "imagee: Extra inputs are not permitted"),
        ({"image": "i", "env": {"A": 1}}, "env.A: Input should be a valid string"),
    ],
)
def test_a_payload_that_does_not_fit_is_refused_in_a_sentence(fields: dict[str, Any], sentence: str) -> None:
    registry = Registry()
    registry.add_module(module)
    known = registry.get("kubernetes-job")
    assert known is not None
    with pytest.raises(SpecError, match=re.escape(sentence)):
        known.check_payload(fields, "finance")


def test_it_is_off_by_default_and_its_absence_says_how_to_turn_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULEDJOBS_DATABASE_URL", "postgresql://localhost/db")
    assert "kubernetes-job" not in set_up_handlers(load()).names()
    judge = Judge(lambda _: False, Registry().check)
    verdict = judge.verdict({"runAt": "2026-11-23T02:00:00Z", "handler": "kubernetes-job"}, "finance")
    assert verdict.message.endswith(": SCHEDULEDJOBS_KUBERNETES_JOB (kubernetesJob.enabled of the chart) turns it on")
    monkeypatch.setenv("SCHEDULEDJOBS_KUBERNETES_JOB", "true")
    monkeypatch.setenv("SCHEDULEDJOBS_KUBERNETES_JOB_SERVICE_ACCOUNTS", "a, b")
    assert "kubernetes-job" in set_up_handlers(load()).names()
    assert module.allowed.accounts == {"a", "b"}


def test_its_payload_can_be_filled_in_a_form() -> None:
    fields = payload_fields(KubernetesJobPayload.model_json_schema())
    assert {"image", "template", "env", "startGraceSeconds"} <= {field.name for field in fields}


def test_the_handler_is_known_to_survive_its_replica() -> None:
    registry = Registry()
    registry.add_module(module)
    assert {name for name in registry.names() if registry.get(name).survives} == SURVIVES_ANYWHERE  # type: ignore[union-attr]


# How an end is read.


def job(*conditions: dict[str, Any], **status: Any) -> dict[str, Any]:
    times = {"startTime": "2026-11-23T02:00:01Z", **status}
    said = [{"status": "True", **one} for one in conditions]
    return {"metadata": {"name": "report-1"}, "status": {**times, "conditions": said}}


COMPLETE = job({"type": "Complete"}, completionTime="2026-11-23T02:00:31Z")
FAILED = job(
    {
        "type": "Failed",
        "reason": "BackoffLimitExceeded",
        "message": "Job has reached the specified backoff limit",
        "lastTransitionTime": "2026-11-23T02:01:01Z",
    }
)


def a_pod(code: int | None, *, reason: str = "Error", status: Any = None, **ended: Any) -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": reason, **ended}} if code is not None else {}
    containers = [{"name": "job", "state": state}]
    meta = {"name": "report-1-abc", "creationTimestamp": "2026-11-23T02:00:01Z"}
    return {"metadata": meta, "status": {"phase": "Failed", "containerStatuses": containers, **(status or {})}}


def test_a_job_has_ended_once_it_says_so_itself() -> None:
    assert not is_finished(job(active=1))
    assert not is_finished(job({"type": "FailureTarget"}, failed=1))  # a pod of it is still going
    assert not is_finished(job({"type": "Failed", "status": "False"}))
    assert is_finished(FAILED)
    assert not is_complete(FAILED)
    assert is_finished(COMPLETE)
    assert is_complete(COMPLETE)


def test_the_result_has_exit_code_and_times() -> None:
    assert result_of(COMPLETE, last_pod([a_pod(0, reason="Completed")])) == {
        "job": "report-1",
        "pod": "report-1-abc",
        "exitCode": 0,
        "reason": "Completed",
        "startTime": "2026-11-23T02:00:01Z",
        "completionTime": "2026-11-23T02:00:31Z",
        "durationSeconds": 30.0,
    }
    without_pod = result_of(FAILED, None)
    assert (without_pod["reason"], without_pod["durationSeconds"]) == ("BackoffLimitExceeded", 60.0)


ENDS = {
    "exit code 3 of container job, pod report-1-abc": a_pod(3),
    "exit code 1 of container job, pod report-1-abc: no such table": a_pod(1, message="no such table\n"),
    "exit code 137, killed by SIGKILL of container job, pod report-1-abc": a_pod(137),
    "OOMKilled: container job of pod report-1-abc used more memory than its limit allows": a_pod(
        137, reason="OOMKilled"
    ),
    "ContainerCannotRun: no such file: run (exit code 127); pod report-1-abc": a_pod(
        127, reason="ContainerCannotRun", message="no such file: run"
    ),
    "Evicted: The node was low on resource: memory.; pod report-1-abc": a_pod(
        None, status={"reason": "Evicted", "message": "The node was low on resource: memory."}
    ),
    "DeletionByTaintManager: Taint manager: deleting due to NoExecute taint (exit code 143); pod report-1-abc": a_pod(
        143,
        status={
            "conditions": [
                {
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "DeletionByTaintManager",
                    "message": "Taint manager: deleting due to NoExecute taint",
                }
            ]
        },
    ),
}


@pytest.mark.parametrize("sentence", ENDS)
def test_a_failure_says_why(sentence: str) -> None:
    assert failure_of(FAILED, last_pod([ENDS[sentence]])) == sentence


def test_a_failure_without_a_pod_is_told_in_the_words_of_kubernetes() -> None:
    assert failure_of(FAILED, None) == "BackoffLimitExceeded: Job has reached the specified backoff limit"


def test_the_container_that_failed_decides_and_of_several_pods_the_newest() -> None:
    first = a_pod(5)
    newer = a_pod(0)
    newer["metadata"] = {"name": "report-1-new", "creationTimestamp": "2026-11-23T02:05:00Z"}
    newer["status"]["containerStatuses"] += [{"name": "side", "state": {"terminated": {"exitCode": 9}}}]
    found = last_pod([newer, first])
    assert found is not None
    assert (found.name, found.container, found.exit_code) == ("report-1-new", "side", 9)


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
    return {"metadata": {"name": "p"}, "status": {"containerStatuses": [{"name": "job", "state": state}]}}


def test_a_container_that_cannot_start_is_told_in_the_words_of_the_kubelet() -> None:
    pulling = complaint_of_pods([waiting("ImagePullBackOff", 'Back-off pulling image "x"')])
    assert pulling is not None
    assert (pulling.text, pulling.is_hopeless) == ('ImagePullBackOff: Back-off pulling image "x" (pod p)', False)
    hopeless = complaint_of_pods([waiting("InvalidImageName")])
    assert hopeless is not None
    assert hopeless.is_hopeless
    assert complaint_of_pods([waiting("ContainerCreating"), waiting("PodInitializing")]) is None


def test_events_tell_why_there_is_no_pod() -> None:
    events = [
        {
            "reason": "FailedCreate",
            "message": "forbidden: exceeded quota: pods",
            "lastTimestamp": "2026-11-23T02:02:00Z",
        },
        {"reason": "FailedCreate", "message": "older", "lastTimestamp": "2026-11-23T02:01:00Z"},
        {"reason": "SomethingElse", "message": "newer", "lastTimestamp": "2026-11-23T02:03:00Z"},
    ]
    found = complaint_of_events(events)
    assert found is not None
    assert found.text == "FailedCreate: forbidden: exceeded quota: pods"
    assert complaint_of_events([]) is None


# How long trouble lasts.

BACK_OFF = Complaint("ImagePullBackOff: Back-off")
PULL = Complaint("ErrImagePull: not found")


def test_trouble_that_lasts_for_its_grace_is_over_and_one_that_passes_is_not() -> None:
    trouble = Trouble(60)
    assert trouble.is_news(PULL)
    assert not trouble.is_over(PULL, 100)
    assert trouble.is_news(BACK_OFF)
    assert not trouble.is_over(BACK_OFF, 159)  # the kubelet says the one and the other in turn
    assert trouble.is_over(PULL, 160)
    assert not trouble.is_over(None, 161)
    assert not trouble.is_over(PULL, 170)
    assert trouble.is_over(PULL, 230)


def test_what_no_time_can_mend_is_over_at_once() -> None:
    assert Trouble(3600).is_over(Complaint("InvalidImageName", is_hopeless=True), 0)


def test_an_event_about_a_pod_counts_while_it_is_said_again() -> None:
    trouble = Trouble(60)
    event = {"reason": "FailedMount", "message": "not found", "lastTimestamp": "2026-11-23T02:00:00Z", "count": 1}
    assert trouble.fresh(event, 0) == Complaint("FailedMount: not found")
    assert trouble.fresh(event, 179) is not None
    assert trouble.fresh(event, 181) is None  # it is pulling a large image by now
    assert trouble.fresh({**event, "count": 2}, 300) is not None
    assert trouble.fresh(None, 301) is None
