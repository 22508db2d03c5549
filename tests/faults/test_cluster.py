"""Faults of the cluster: etcd restored, the CRD replaced, namespaces and jobs deleted and made anew."""

from __future__ import annotations

import json
import os
import shutil
import signal
from typing import Any

import pytest
from dev.processes import stop
from tests.acceptance.conftest import job, until
from tests.faults.changes import (
    HEALED_SECONDS,
    add,
    change,
    is_mirrored,
    load,
    logged,
    mirrored,
    seconds_until,
    set_rate,
)
from tests.faults.stage import Stage, figures

CRD = "customresourcedefinition/scheduledjobs.scheduledjobs.dev"


def take_snapshot(stage: Stage) -> None:
    """Copy etcd's folder while it stands still, which is what it would find after a crash at this instant."""
    etcd = stage.cluster.pids[0]
    os.kill(etcd, signal.SIGSTOP)
    try:
        shutil.copytree(stage.cluster.folder / "etcd", stage.folder / "snapshot")
    finally:
        os.kill(etcd, signal.SIGCONT)


def restore(stage: Stage) -> None:
    """Put the copy back and start both servers on it."""
    cluster = stage.cluster
    cluster.stop_apiserver(signal.SIGKILL)
    stop(cluster.pids.pop(), signal.SIGKILL)
    shutil.rmtree(cluster.folder / "etcd")
    shutil.copytree(stage.folder / "snapshot", cluster.folder / "etcd")
    cluster.start_etcd()
    cluster.start_apiserver()


def run_now(stage: Stage, name: str, token: str) -> None:
    """Ask for a run."""
    words = ("annotate", "--overwrite", "sjob", name, "-n", stage.namespace, f"scheduledjobs.dev/run-now={token}")
    stage.cluster.kubectl(*words)


def has_rate(stage: Stage, name: str, rate: str) -> bool:
    """Return whether the mirror has it."""
    rows = stage.rows("SELECT spec->>'fixedRate' AS rate FROM job_definition WHERE name = %s", name)
    return [row["rate"] for row in rows] == [rate]


def newest_version(stage: Stage) -> int:
    """Return the API server's newest resourceVersion."""
    path = f"/apis/scheduledjobs.dev/v1/namespaces/{stage.namespace}/scheduledjobs?limit=1"
    return int(json.loads(stage.cluster.kubectl("get", "--raw", path).stdout)["metadata"]["resourceVersion"])


def test_etcd_is_restored_from_an_older_snapshot(stage: Stage) -> None:
    """Objects vanish, come back and are older, resourceVersions go back: the mirror follows, and nothing runs twice."""
    stage.start_all()
    load(stage)
    add(stage, "kept")
    run_now(stage, "kept-edited", "first")
    until(lambda: stage.count("run_key = 'first'") == 1)
    take_snapshot(stage)
    version, since = newest_version(stage), stage.now()
    change(stage, "kept")
    run_now(stage, "kept-edited", "second")
    stage.create([job("vanishing", handler="witness", fixedRate="1s")])
    until(lambda: is_mirrored(stage, "kept") and stage.count("job_name = 'vanishing'") > 1)
    until(lambda: stage.count("run_key = 'second'") == 1)
    stage.run_for(5)
    restore(stage)
    gone_back = newest_version(stage) - version
    set_rate(stage, "kept-edited", "22h")
    gone = "SELECT state FROM job_definition WHERE name = 'vanishing'"
    took = seconds_until(lambda: stage.row(gone)["state"] == "DELETED")
    took += seconds_until(lambda: mirrored(stage, "kept")["deleted"] == (1, "ACTIVE"))
    took += seconds_until(lambda: has_rate(stage, "kept-edited", "22h"))
    set_rate(stage, "kept-edited", "21h")
    seen = seconds_until(lambda: has_rate(stage, "kept-edited", "21h"))
    told = seconds_until(lambda: "21h" in stage.get("kept-edited").get("status", {}).get("schedule", ""), 12)
    gap = stage.gap(since)
    stage.judge(figures(mirrored_after=took, then_an_edit_after=seen, told_after=told, gap=gap, versions=gone_back), 60)
    assert took < HEALED_SECONDS
    assert stage.count("run_key = 'first'") == stage.count("run_key = 'second'") == 1
    assert gap < 3


def test_the_crd_is_deleted_and_made_anew(stage: Stage) -> None:
    """While the collection answers 404 nothing is deleted; when it is back, the jobs are really gone."""
    stage.start_all()
    load(stage)
    add(stage, "old")
    since = stage.now()
    for way in stage.api.values():
        way.refused = True
        way.cut()
    try:
        stage.cluster.kubectl("delete", CRD, "--timeout=60s")
        stage.heal()
        until(lambda: "404" in logged(stage), 15)
        stage.run_for(6)
        deleted = "SELECT count(*) AS n FROM job_definition WHERE state = 'DELETED'"
        assert stage.row(deleted)["n"] == 0
        gap = stage.gap(since, stage.now())
    finally:
        stage.cluster.install_crds()
    took = seconds_until(lambda: stage.check_mirror() < HEALED_SECONDS)
    stage.create([job("new", handler="witness", fixedRate="1s")])
    works = seconds_until(lambda: stage.count("job_name = 'new' AND state = 'SUCCEEDED'") > 0)
    stage.judge(figures(gap=gap, deleted_after=took, new_job_runs_after=works))
    assert took < HEALED_SECONDS
    assert gap < 1


def uid_of(stage: Stage, name: str) -> str:
    """Return the uid of the job that has the name now."""
    return str(stage.get(name)["metadata"]["uid"])


def test_a_job_is_deleted_and_made_anew_under_its_name_while_it_runs(stage: Stage) -> None:
    """What waits is cancelled, what runs goes on, and the new job begins without a past."""
    stage.start_all()
    load(stage)
    since = stage.now()
    body = {"handler": "witness", "fixedRate": "1s", "concurrencyPolicy": "Queue", "payload": {"seconds": 2.5}}
    uids = []
    ours = "job_id = %s AND state = '{}'"
    for _ in range(4):
        stage.create([job("phoenix", **body)])
        uids.append(uid_of(stage, "phoenix"))
        until(lambda: stage.count(ours.format("RUNNING"), uids[-1]) and stage.count(ours.format("PENDING"), uids[-1]))
        stage.cluster.kubectl("delete", "sjob", "phoenix", "-n", stage.namespace)
    stage.create([job("phoenix", **body)])
    until(lambda: stage.count("job_id = %s", uid_of(stage, "phoenix")))
    states = "SELECT state, reason FROM job_execution_log WHERE job_id = %s AND state <> 'SKIPPED'"
    until(lambda: not stage.count("job_id = ANY(%s) AND state IN ('RUNNING', 'PENDING')", uids))
    for uid in uids:
        ended = {(row["state"], row["reason"]) for row in stage.rows(states, uid)}
        assert ended == {("SUCCEEDED", "Success"), ("CANCELLED", "JobDeleted")}, ended
    stage.judge(figures(times=len(uids), gap=stage.gap(since)))
    assert stage.gap(since) < 1


@pytest.fixture
def doomed(stage: Stage) -> str:
    """A second namespace."""
    name = f"{stage.namespace}-doomed"
    stage.cluster.kubectl("create", "namespace", name)
    return name


def delete_namespace(stage: Stage, name: str) -> None:
    """Do what the namespace controller does: the namespace ends, then what is in it, then it is gone."""
    kubectl = stage.cluster.kubectl
    kubectl("delete", "namespace", name, "--wait=false")
    kubectl("delete", "scheduledjobs", "--all", "-n", name)
    found: dict[str, Any] = json.loads(kubectl("get", "namespace", name, "-o", "json").stdout)
    assert found["status"]["phase"] == "Terminating"
    found["spec"]["finalizers"] = []
    kubectl("replace", "--raw", f"/api/v1/namespaces/{name}/finalize", "-f", "-", stdin=json.dumps(found))
    assert kubectl("get", "namespace", name, check=False).returncode


def test_a_namespace_is_deleted_with_its_jobs(stage: Stage, doomed: str) -> None:
    """Its jobs become DELETED, what runs there goes on, and the other namespace sees nothing of it."""
    stage.start_all(watch_namespaces=f"{stage.namespace},{doomed}")
    load(stage)
    body = {"handler": "witness", "fixedRate": "1s", "concurrencyPolicy": "Queue", "payload": {"seconds": 2.5}}
    failing = job("failing", handler="witness", fixedRate="1s", payload={"fail": 9})
    items = [job(f"there-{n}", **body) for n in range(5)] + [failing]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    stage.cluster.kubectl("create", "-n", doomed, "-f", "-", stdin=text)
    there = "namespace = %s AND state = '{}'"
    until(lambda: stage.count(there.format("RUNNING"), doomed) == 5 and stage.count(there.format("PENDING"), doomed))
    since = stage.now()
    delete_namespace(stage, doomed)
    living = "SELECT count(*) AS n FROM job_definition WHERE namespace = %s AND state <> 'DELETED'"
    took = seconds_until(lambda: stage.row(living, doomed)["n"] == 0)
    until(lambda: not stage.count("namespace = %s AND state IN ('RUNNING', 'PENDING')", doomed))
    assert stage.count("namespace = %s AND reason = 'JobDeleted' AND state = 'CANCELLED'", doomed) > 0
    assert stage.count("namespace = %s AND state = 'LOST'", doomed) == 0
    stage.run_for(3)
    stage.judge(figures(mirrored_after=took, gap=stage.gap(since)))
    assert stage.gap(since) < 1
