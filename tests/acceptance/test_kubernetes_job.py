"""The handler kubernetes-job on a real API server: each way in which a Job can end, and what may come before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from dev.controlplane import ControlPlane
from dev.postgres import Postgres
from tests.acceptance.conftest import Replicas, until
from tests.acceptance.jobs import Jobs, open_database, soon

from scheduledjobs.core.reasons import Trigger
from scheduledjobs.handlers import Execution
from scheduledjobs.handlers.job_manifest import name_of

SETTINGS = {"kubernetes_job": "true"}
IMAGE = {"image": "report:1", "args": ["--day", "$(SCHEDULEDJOBS_FIRE_TIME)"]}
numbers = count(1)


@pytest.fixture(scope="module")
def jobs(cluster: ControlPlane, postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    """The Jobs of one replica that all tests of this module share; each has ScheduledJobs of its own name."""
    namespace = "kubernetes-job"
    cluster.kubectl("create", "namespace", namespace)
    with open_database(postgres_server, "kubernetes_job") as url:
        found = Replicas(cluster, namespace, url, tmp_path_factory.mktemp("kubernetes-job"))
        try:
            found.start("one", **SETTINGS)
            found.wait_leader()
            yield Jobs(found)
        finally:
            found.stop()
            print(found.logs())


def begin(jobs: Jobs, **spec: Any) -> str:
    """Apply a ScheduledJob that is due at once; return its name."""
    name = f"report-{next(numbers)}"
    payload = spec.pop("payload", IMAGE)
    jobs.replicas.apply(name, **{"handler": "kubernetes-job", "runAt": soon(), "payload": payload, **spec})
    return name


def test_a_job_is_made_once_and_its_end_is_the_executions(jobs: Jobs) -> None:
    name = begin(jobs)
    job = jobs.wait(name)
    running = jobs.execution(
        name, state="RUNNING", result={"job": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
    )
    labels = job["metadata"]["labels"]
    assert labels["scheduledjobs.dev/execution"] == str(running["id"])
    assert job["metadata"]["ownerReferences"][0]["uid"] == jobs.replicas.get(name)["metadata"]["uid"]
    jobs.start(job)
    jobs.finish(job)
    ended = jobs.execution(name, state="SUCCEEDED")
    assert (ended["reason"], ended["attempt"]) == ("Success", 1)
    result = ended["result"]
    assert (result["job"], result["exitCode"], result["reason"]) == (job["metadata"]["name"], 0, "Completed")
    assert result["pod"] == f"{job['metadata']['name']}-pod"
    assert 5 <= result["durationSeconds"] < 60
    assert f"created Job {job['metadata']['name']}" in jobs.output(ended)
    assert len(jobs.of(name)) == 1


def test_a_job_that_fails_tells_its_exit_code_and_is_retried_as_another_job(jobs: Jobs) -> None:
    name = begin(jobs, retry={"limit": 1, "backoff": "100ms"})
    first = jobs.wait(name)
    jobs.start(first)
    jobs.finish(first, 3, message="no such table")
    second = jobs.wait(name, 2)
    assert second["metadata"]["labels"]["scheduledjobs.dev/attempt"] == "2"
    jobs.start(second)
    jobs.finish(second, 4)
    ended = jobs.execution(name, state="FAILED")
    assert ended["message"] == f"exit code 4 of container job, pod {second['metadata']['name']}-pod"
    assert ended["result"]["exitCode"] == 4
    (before,) = jobs.replicas.rows("SELECT * FROM job_execution_attempt WHERE execution_id = %s", ended["id"])
    assert before["error"].startswith("exit code 3 of container job")
    assert before["error"].endswith(": no such table")


def test_what_the_api_server_refuses_fails_for_good_in_its_words(jobs: Jobs) -> None:
    template = {"spec": {"containers": [{"name": "job", "image": "i", "resources": {"limits": {"memory": "much"}}}]}}
    name = begin(jobs, payload={"template": template}, retry={"limit": 5, "backoff": "100ms"})
    ended = jobs.execution(name, state="FAILED")
    assert (ended["reason"], ended["attempt"]) == ("PermanentError", 1)
    assert "quantities must match the regular expression" in ended["message"]
    assert "Traceback" not in jobs.output(ended)


def test_a_field_that_pods_do_not_have_is_refused_and_not_dropped(jobs: Jobs) -> None:
    template = {"spec": {"containers": [{"name": "job", "image": "i", "comand": ["run"]}]}}
    ended = jobs.execution(begin(jobs, payload={"template": template}), state="FAILED")
    assert 'unknown field "spec.template.spec.containers[0].comand"' in ended["message"]


def test_a_template_that_asks_for_too_much_is_never_run(jobs: Jobs) -> None:
    template = {"spec": {"hostNetwork": True, "containers": [{"name": "job", "image": "i"}]}}
    name = begin(jobs, payload={"template": template})
    found = until(lambda: condition(jobs.replicas.get(name), "InvalidPayload"))
    assert found["message"].startswith("spec.payload.template.spec.hostNetwork: ")
    assert jobs.of(name) == []


def condition(resource: dict[str, Any], reason: str) -> Any:
    conditions = resource.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == "Ready" and one["reason"] == reason), None)


def test_a_job_that_is_deleted_by_hand_has_failed(jobs: Jobs) -> None:
    name = begin(jobs)
    job = jobs.wait(name)
    jobs.start(job)
    jobs.delete(job)
    ended = jobs.execution(name, state="FAILED")
    assert (ended["reason"], ended["message"]) == ("Error", f"its Job {job['metadata']['name']} was deleted")


def test_a_job_that_goes_with_its_scheduled_job_says_so(jobs: Jobs) -> None:
    name = begin(jobs)
    job = jobs.wait(name)
    jobs.replicas.cluster.kubectl("delete", "scheduledjob", name, "-n", jobs.replicas.namespace)
    jobs.delete(job)  # as the garbage collector does
    ended = jobs.execution(name, state="FAILED")
    assert ended["message"] == f"its Job {job['metadata']['name']} was deleted with the ScheduledJob"


def test_a_strangers_job_of_the_same_name_is_left_alone(jobs: Jobs) -> None:
    name, due = f"report-{next(numbers)}", soon(8)
    jobs.replicas.apply(name, handler="kubernetes-job", runAt=due, payload=IMAGE)
    uid = UUID(jobs.replicas.get(name)["metadata"]["uid"])
    moment = datetime.fromisoformat(due)
    this = Execution("", name, uid, moment, 1, Trigger.SCHEDULE, "", None, None, None)
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "i"}]}
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name_of(this)},
        "spec": {"template": {"spec": pod}},
    }
    jobs.replicas.cluster.kubectl("create", "-n", jobs.replicas.namespace, "-f", "-", stdin=json.dumps(body))
    assert datetime.now(UTC) < moment
    ended = jobs.execution(name, state="FAILED")
    assert ended["reason"] == "PermanentError"
    assert ended["message"] == f"a Job named {name_of(this)} is there already, and was not made for this attempt"
    assert any(one["metadata"]["name"] == name_of(this) for one in jobs.all())


def test_a_timeout_deletes_the_job_and_is_over_when_its_pods_are_gone(jobs: Jobs) -> None:
    name = begin(jobs, timeout="3s")
    job = jobs.wait(name)
    jobs.start(job)
    until(lambda: jobs.is_going(job), 20, 0.2)
    stopped = datetime.now(UTC)
    until(lambda: datetime.now(UTC) > stopped + timedelta(seconds=8))  # longer than between two looks of its own
    assert jobs.execution(name)["state"] == "RUNNING"  # a pod may still write
    jobs.collect(job)
    ended = jobs.execution(name, state="TIMED_OUT")
    assert not ended["abandoned"]
    assert jobs.of(name) == []
    assert "is gone, and its pods" in jobs.output(ended)


def test_a_cancel_deletes_the_job(jobs: Jobs) -> None:
    name = begin(jobs)
    job = jobs.wait(name)
    jobs.start(job)
    cancel(jobs, jobs.execution(name, state="RUNNING"))
    jobs.collect(job)
    ended = jobs.execution(name, state="CANCELLED")
    assert (ended["reason"], jobs.of(name)) == ("CancelRequested", [])


def cancel(jobs: Jobs, execution: dict[str, Any]) -> None:
    jobs.replicas.rows(
        "UPDATE job_execution_log SET cancel_reason = 'CancelRequested', cancel_requested_by = 'a test' "
        "WHERE id = %s RETURNING id",
        execution["id"],
    )


def test_replace_deletes_the_job_before_the_next_one_is_made(jobs: Jobs) -> None:
    name = begin(jobs, runAt=None, fixedRate="4s", concurrencyPolicy="Replace")
    first = jobs.wait(name)
    jobs.start(first)
    until(lambda: jobs.is_going(first), 20, 0.2)
    assert len(jobs.of(name)) == 1
    jobs.replicas.apply(name, handler="kubernetes-job", payload=IMAGE, fixedRate="1h", concurrencyPolicy="Replace")
    jobs.collect(first)
    second = until(
        lambda: [one for one in jobs.of(name) if one["metadata"]["uid"] != first["metadata"]["uid"]], 20, 0.2
    )
    states = jobs.replicas.rows("SELECT state, reason FROM job_execution_log WHERE job_name = %s ORDER BY id", name)
    assert (states[0]["state"], states[0]["reason"]) == ("CANCELLED", "Replaced")
    jobs.start(second[0])
    jobs.finish(second[0])
    jobs.execution(name, state="SUCCEEDED")


PULLING = {
    "phase": "Pending",
    "containerStatuses": [
        {
            "name": "job",
            "image": "i",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image report:1"}},
        }
    ],
}


def test_an_image_that_cannot_be_pulled_fails_after_its_grace_in_the_words_of_the_kubelet(jobs: Jobs) -> None:
    name = begin(jobs, payload={**IMAGE, "startGraceSeconds": 1})
    job = jobs.wait(name)
    jobs.start(job, PULLING, ready=0)
    jobs.collect(job)
    ended = jobs.execution(name, state="FAILED")
    pod = f"{job['metadata']['name']}-pod"
    assert ended["message"] == f"ImagePullBackOff: Back-off pulling image report:1 (pod {pod})"
    assert jobs.of(name) == []


def test_pods_that_cannot_be_made_fail_in_the_words_of_the_job_controller(jobs: Jobs) -> None:
    name = begin(jobs, payload={**IMAGE, "startGraceSeconds": 1})
    job = jobs.wait(name)
    jobs.warn(job, "FailedCreate", "pods is forbidden: exceeded quota: small")
    jobs.collect(job)
    ended = jobs.execution(name, state="FAILED")
    assert ended["message"] == "FailedCreate: pods is forbidden: exceeded quota: small"
