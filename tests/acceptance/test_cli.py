"""The commands that people type: what they ask of a cluster, and what they say when they cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from dev.controlplane import ControlPlane
from tests.acceptance.conftest import until

from scheduledjobs.cli.main import COMMANDS


def run(cluster: ControlPlane, *arguments: str, url: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    if url:
        environment["SCHEDULEDJOBS_DATABASE_URL"] = url
    command = [sys.executable, "-m", "scheduledjobs", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def job(cluster: ControlPlane, namespace: str) -> str:
    body = {
        "apiVersion": "scheduledjobs.dev/v1",
        "kind": "ScheduledJob",
        "metadata": {"name": "job", "namespace": namespace},
        "spec": {"handler": "log", "fixedRate": "1h"},
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    return f"{namespace}/job"


def annotations(cluster: ControlPlane, job: str) -> dict[str, str]:
    namespace, name = job.split("/")
    found = json.loads(cluster.kubectl("get", "sjob", name, "-n", namespace, "-o", "json").stdout)
    return {k: v for k, v in found["metadata"].get("annotations", {}).items() if k.startswith("scheduledjobs.dev/")}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_that_helps(cluster: ControlPlane, command: str) -> None:
    said = run(cluster, command, "--help")
    assert said.returncode == 0
    assert len(said.stdout.splitlines()) >= 5


def test_run_now_sets_a_token_and_waits_its_turn(cluster: ControlPlane, job: str) -> None:
    said = run(cluster, "run-now", job, "--token", "t1", "--payload", '{"message": "hi"}')
    assert said.stdout == f"requested run t1 of {job}\n"
    assert annotations(cluster, job) == {
        "scheduledjobs.dev/run-now": "t1",
        "scheduledjobs.dev/run-now-payload": '{"message": "hi"}',
    }
    refused = run(cluster, "run-now", job)
    assert refused.returncode == 1
    assert "RunRequestPending: the request t1 is not recorded yet" in refused.stderr
    assert run(cluster, "run-now", job, "--token", "t1").returncode == 0  # the same request


def test_pause_and_resume(cluster: ControlPlane, job: str) -> None:
    namespace, name = job.split("/")
    said = run(cluster, "pause", name, "-n", namespace, "--until", "2999-01-01T00:00:00+01:00", "--reason", "migration")
    assert said.stdout == f"{job} is paused until 2998-12-31T23:00:00Z\n"
    found = annotations(cluster, job)
    assert found["scheduledjobs.dev/paused-until"] == "2998-12-31T23:00:00Z"
    assert found["scheduledjobs.dev/pause-reason"] == "migration"
    assert found["scheduledjobs.dev/paused-by"]
    assert run(cluster, "resume", job).stdout == f"{job} is resumed\n"
    assert annotations(cluster, job) == {}
    assert run(cluster, "resume", job).stdout == f"{job} was not paused\n"


def test_resume_of_a_job_that_its_manifest_suspends_says_where(cluster: ControlPlane, job: str) -> None:
    namespace, name = job.split("/")
    patch = '{"spec": {"suspend": true}}'
    cluster.kubectl("patch", "sjob", name, "-n", namespace, "--type=merge", "-p", patch)
    said = run(cluster, "resume", job)
    assert (said.returncode, "set it to false there" in said.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run-now", "default/nobody"], 1, "default/nobody: not found"),
        (["run-now", "a/b/c"], 2, "must be NAMESPACE/NAME"),
        (["run-now", "default/x", "--payload", "[1]"], 2, "must be a JSON object"),
        (["run-now", "default/x", "--payload", "@/nowhere"], 2, "cannot be read"),
        (["run-now", "default/x", "--token", ""], 2, "1 to 128 characters"),
        (["pause", "default/x", "--until", "2020-01-01T00:00:00Z"], 2, "must lie in the future"),
        (["pause", "default/x", "--until", "soon"], 2, "must be RFC 3339"),
        (["pause", "default/x", "--for", "soon"], 2, "must be a duration"),
        (["pause", "default/x", "--for", "1h", "--until", "2999-01-01T00:00:00Z"], 2, "not both"),
        (["verify", "--since", "yesterday"], 2, "must be RFC 3339"),
        (["why", "job", "--at", "2026-01-01T00:00:00Z"], 2, "must be NAMESPACE/NAME"),
        (["why", "default/job"], 2, "Missing option '--at'"),
    ],
)
def test_what_cannot_be_asked_for_is_said_in_a_sentence(
    cluster: ControlPlane, arguments: list[str], code: int, sentence: str
) -> None:
    said = run(cluster, *arguments)
    assert (said.returncode, sentence in said.stderr) == (code, True), said.stderr


def test_the_ledger_of_a_live_operator(replicas: Any, cluster: ControlPlane) -> None:
    replicas.start("one")
    replicas.apply("tick", fixedRate="1s", handler="log")
    replicas.apply("slow", runAt="2020-01-01T00:00:00Z", handler="log")
    replicas.apply("long", fixedRate="1h", handler="log", payload={"seconds": 60})
    job = f"{replicas.namespace}/tick"
    until(lambda: len(replicas.rows("SELECT 1 FROM job_execution_log WHERE state = 'SUCCEEDED'")) > 3)
    found = run(cluster, "verify", "--since", "10m", url=replicas.url)
    assert (found.returncode, "0 lost, 0 doubled" in found.stdout) == (0, True), found.stdout
    (row,) = replicas.rows("SELECT * FROM job_execution_log WHERE state = 'SUCCEEDED' ORDER BY fire_time LIMIT 1")
    told = run(cluster, "why", job, "--at", row["fire_time"].isoformat(), url=replicas.url)
    assert "SUCCEEDED (Success)" in told.stdout
    assert "claim     by one at" in told.stdout
    assert "version 1" in run(cluster, "history", job, url=replicas.url).stdout
    run(cluster, "run-now", f"{replicas.namespace}/long", "--wait", "20")
    running = until(
        lambda: replicas.rows("SELECT id FROM job_execution_log WHERE state = 'RUNNING' AND job_name = 'long'")
    )
    cancelled = run(cluster, "cancel", str(running[0]["id"]), "--by", "ana", url=replicas.url)
    assert "CANCELLED (CancelRequested)" in cancelled.stdout
    assert run(cluster, "cancel", str(running[0]["id"]), url=replicas.url).returncode == 1
    with_row = replicas.rows("SELECT message FROM job_execution_log WHERE id = %s", running[0]["id"])
    assert with_row[0]["message"] == "cancelled by ana"
