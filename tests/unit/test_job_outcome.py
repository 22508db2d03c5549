"""Which container of a pod decides how a Job ended: its own before init containers, in the order of its spec."""

from __future__ import annotations

from typing import Any

import pytest

from scheduledjobs.handlers.job_outcome import failure_of, last_pod

FAILED = {"metadata": {"name": "report-1"}, "status": {"conditions": [{"type": "Failed", "status": "True"}]}}
PROXY = {"name": "cloud-sql-proxy", "restartPolicy": "Always"}
WAITS = {"waiting": {"reason": "PodInitializing"}}


def ended(name: str, code: int) -> dict[str, Any]:
    return {"name": name, "state": {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}}


def a_pod(
    inits: list[dict[str, Any]], own: list[str], init_ends: list[dict[str, Any]], ends: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "metadata": {"name": "report-1-abc", "creationTimestamp": "2026-11-23T02:00:01Z"},
        "spec": {"initContainers": inits, "containers": [{"name": name} for name in own]},
        "status": {"phase": "Failed", "initContainerStatuses": init_ends, "containerStatuses": ends},
    }


@pytest.mark.parametrize("code", [0, 1])
def test_a_sidecar_that_is_stopped_at_the_end_does_not_decide(code: int) -> None:
    pod = last_pod([a_pod([PROXY], ["main"], [ended("cloud-sql-proxy", 143)], [ended("main", code)])])
    assert pod is not None
    assert (pod.container, pod.exit_code, pod.has_logs) == ("main", code, True)


def test_of_a_pod_whose_containers_all_did_well_the_first_of_its_spec_decides() -> None:
    pod = last_pod([a_pod([], ["worker", "agent"], [], [ended("agent", 0), ended("worker", 0)])])
    assert pod is not None
    assert pod.container == "worker"


def test_of_containers_that_failed_the_first_of_the_spec_decides() -> None:
    pod = last_pod([a_pod([], ["worker", "agent"], [], [ended("agent", 9), ended("worker", 3)])])
    assert pod is not None
    assert failure_of(FAILED, pod) == "exit code 3 of container worker, pod report-1-abc"


def test_an_init_container_that_failed_decides_where_no_other_has_run_and_before_a_sidecar() -> None:
    inits = [PROXY, {"name": "schema"}]
    pod = last_pod(
        [
            a_pod(
                inits, ["main"], [ended("cloud-sql-proxy", 143), ended("schema", 2)], [{"name": "main", "state": WAITS}]
            )
        ]
    )
    assert pod is not None
    assert (pod.container, pod.exit_code) == ("schema", 2)


def test_a_container_that_runs_decides_before_a_sidecar_that_has_crashed() -> None:
    runs = {"name": "main", "state": {"running": {"startedAt": "2026-11-23T02:00:02Z"}}}
    pod = last_pod([a_pod([PROXY], ["main"], [ended("cloud-sql-proxy", 1)], [runs])])
    assert pod is not None
    assert (pod.container, pod.has_logs) == ("main", False)
