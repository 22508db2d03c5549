"""Jobs outlive the replica that made them: whoever goes on finds them, and makes no second one."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from tests.acceptance.conftest import Replicas, create, job, until
from tests.acceptance.jobs import Jobs, soon
from tests.faults.proxy import Network, Way

SETTINGS = {"kubernetes_job": "true"}
IMAGE = {"image": "report:1"}
MANY = 20
SEED = int(os.environ.get("SCHEDULEDJOBS_TEST_SEED", "0")) or Random().randrange(1, 2**31)


@pytest.fixture
def jobs(replicas: Replicas) -> Jobs:
    return Jobs(replicas)


def begun(jobs: Jobs, name: str = "report", **spec: Any) -> dict[str, Any]:
    """A Job that runs, noted in its execution's row."""
    jobs.replicas.start("one", **SETTINGS)
    jobs.replicas.wait_leader()
    jobs.replicas.apply(name, handler="kubernetes-job", runAt=soon(), payload=IMAGE, **spec)
    job = jobs.wait(name)
    jobs.start(job)
    until(lambda: jobs.execution(name)["result"])
    return job


def stop(jobs: Jobs, name: str, number: signal.Signals) -> None:
    jobs.replicas.signal(name, number)
    jobs.replicas.processes[name].wait(15)


@pytest.mark.timeout(120)
def test_when_a_replica_is_killed_another_goes_on_with_its_job(jobs: Jobs) -> None:
    job = begun(jobs)
    jobs.replicas.start("two", **SETTINGS)
    stop(jobs, "one", signal.SIGKILL)
    jobs.execution("report", state="RUNNING", reason="HandedOver", claim_no=2)
    jobs.finish(job)
    ended = jobs.execution("report", state="SUCCEEDED")
    assert (ended["attempt"], ended["claim_no"], ended["result"]["job"]) == (1, 2, job["metadata"]["name"])
    assert f"went on with Job {job['metadata']['name']}" in jobs.output(ended)
    assert [one["metadata"]["uid"] for one in jobs.all()] == [job["metadata"]["uid"]]


def test_a_replica_that_stops_leaves_its_job_to_another_at_once(jobs: Jobs) -> None:
    job = begun(jobs, timeout="10m")
    jobs.replicas.start("two", **SETTINGS)
    until(lambda: len(jobs.replicas.rows("SELECT FROM scheduler_instance WHERE dead_at IS NULL")) == 2)
    asked = time.monotonic()
    stop(jobs, "one", signal.SIGTERM)
    assert jobs.replicas.processes["one"].returncode == 0
    jobs.execution("report", state="RUNNING", claim_no=2)
    assert time.monotonic() - asked < 10  # the drain's grace is 25 s, and a rescue takes as long as that
    assert not jobs.is_going(job)
    jobs.finish(job)
    ended = jobs.execution("report", state="SUCCEEDED")
    assert ended["duration_ms"] > 1000  # since it was begun, not since it was handed over
    assert ended["lateness_ms"] < 1000 * (time.monotonic() - asked)
    assert len(jobs.all()) == 1


def test_a_job_that_ended_while_nobody_watched_is_told_by_the_next_replica(jobs: Jobs) -> None:
    job = begun(jobs)
    stop(jobs, "one", signal.SIGTERM)
    waiting = jobs.execution("report", state="PENDING")
    assert (waiting["reason"], waiting["attempt"]) == ("HandedOver", 0)
    jobs.finish(job, 3)
    jobs.replicas.start("two", **SETTINGS)
    ended = jobs.execution("report", state="FAILED")
    assert ended["message"].startswith("exit code 3 of container job")
    said = [line.split(" INFO ")[-1].split(" ")[0] for line in jobs.output(ended).splitlines()]
    assert said[:2] == ["created", "went"]  # what the first replica had logged, and then the next one
    assert len(jobs.all()) == 1


def test_a_job_that_was_deleted_while_nobody_watched_is_not_made_again(jobs: Jobs) -> None:
    job = begun(jobs)
    stop(jobs, "one", signal.SIGTERM)
    jobs.delete(job)
    until(lambda: jobs.all() == [])
    jobs.replicas.start("two", **SETTINGS)
    ended = jobs.execution("report", state="FAILED")
    name = job["metadata"]["name"]
    assert ended["message"] == f"its Job {name} is gone: deleted, or ended and collected while nobody watched"
    assert jobs.all() == []


@pytest.mark.timeout(120)
def test_a_job_whose_cancel_nobody_saw_is_deleted_by_the_next_replica(jobs: Jobs) -> None:
    job = begun(jobs)
    stop(jobs, "one", signal.SIGKILL)
    row = jobs.execution("report", state="RUNNING")
    jobs.replicas.rows(
        "UPDATE job_execution_log SET cancel_reason = 'CancelRequested', cancel_requested_by = 'a test' "
        "WHERE id = %s RETURNING id",
        row["id"],
    )
    jobs.replicas.start("two", **SETTINGS)
    until(lambda: jobs.is_going(job), 60, 0.2)
    jobs.collect(job)
    assert jobs.execution("report", state="CANCELLED")["reason"] == "CancelRequested"
    assert jobs.all() == []


@pytest.mark.timeout(120)
def test_a_timeout_that_nobody_saw_deletes_the_job_and_one_that_had_ended_well_counts(jobs: Jobs) -> None:
    late = begun(jobs, timeout="6s")
    jobs.replicas.apply("well", handler="kubernetes-job", runAt=soon(), payload=IMAGE, timeout="6s")
    well = jobs.wait("well")
    jobs.start(well)
    until(lambda: jobs.execution("well")["result"])
    stop(jobs, "one", signal.SIGTERM)
    jobs.finish(well)
    until(lambda: datetime.now(UTC) > jobs.execution("report")["started_at"] + timedelta(seconds=7), 20)
    jobs.replicas.start("two", **SETTINGS)
    assert jobs.execution("well", state="SUCCEEDED")["result"]["exitCode"] == 0
    jobs.collect(late)
    assert jobs.execution("report", state="TIMED_OUT")["claim_no"] == 2


@pytest.mark.timeout(120)
def test_a_frozen_replica_that_wakes_leaves_the_job_to_who_went_on(jobs: Jobs) -> None:
    made = begun(jobs)
    jobs.replicas.start("two", **SETTINGS)
    jobs.replicas.signal("one", signal.SIGSTOP)
    jobs.execution("report", state="RUNNING", claim_no=2)
    jobs.replicas.signal("one", signal.SIGCONT)
    anew = "SELECT FROM scheduler_instance WHERE hostname = 'one' AND dead_at IS NULL"
    until(lambda: jobs.replicas.rows(anew), 30)  # it was declared dead, and has stopped what it ran
    assert not jobs.is_going(made)
    jobs.finish(made)
    ended = jobs.execution("report", state="SUCCEEDED")
    assert (ended["claim_no"], len(jobs.all())) == (2, 1)


@pytest.mark.timeout(120)
def test_an_outage_of_the_api_server_ends_no_job_and_doubles_none(jobs: Jobs) -> None:
    replicas = jobs.replicas
    with Network() as network:
        way = Way(network, replicas.cluster.port)
        config = replicas.cluster.kubeconfig.read_text()
        over = replicas.folder / "kubeconfig"
        over.write_text(config.replace(str(replicas.cluster.port), str(way.port)))
        replicas.kubeconfig = str(over)
        made = begun(jobs)
        replicas.apply("second", handler="kubernetes-job", runAt=soon(3), payload=IMAGE)
        until(lambda: replicas.rows("SELECT FROM job_definition WHERE name = 'second'"))
        way.refused = True
        way.cut()
        jobs.finish(made)
        jobs.execution("second", state="RUNNING")  # firing outlives an outage of the API server
        assert jobs.execution("report")["state"] == "RUNNING"
        assert jobs.of("second") == []
        way.refused = False
        assert jobs.execution("report", state="SUCCEEDED")["result"]["exitCode"] == 0
        second = jobs.wait("second")
        jobs.start(second)
        jobs.finish(second)
        assert "Job not created yet" in jobs.output(jobs.execution("second", state="SUCCEEDED"))
        assert len(jobs.all()) == 2
        replicas.stop()
        way.close()


@pytest.mark.timeout(240)
def test_whenever_the_leader_is_killed_each_moment_has_one_job(
    jobs: Jobs, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(jobs.replicas.cluster.kubeconfig))
    random = Random(SEED)
    replicas = jobs.replicas
    for name in ("one", "two"):
        replicas.start(name, **SETTINGS)
    leader = replicas.wait_leader()
    due = datetime.now(UTC) + timedelta(seconds=6)
    spec = {"handler": "kubernetes-job", "runAt": due.isoformat(), "payload": IMAGE}
    asyncio.run(create(replicas.namespace, [job(f"report-{number}", **spec) for number in range(MANY)]))
    assert datetime.now(UTC) < due
    delay = random.uniform(0.0, 1.0)
    time.sleep((due - datetime.now(UTC)).total_seconds() + delay)  # the moment of the kill, not a wait for something
    stop(jobs, leader, signal.SIGKILL)
    made = len(jobs.all())
    query = (
        "SELECT count(*) AS n FROM job_execution_log WHERE result IS NOT NULL AND state = 'RUNNING' AND claimed_by IN "
    )
    alive = "(SELECT id FROM scheduler_instance WHERE dead_at IS NULL)"
    until(lambda: replicas.row(query + alive)["n"] == MANY and len(jobs.all()) == MANY, 60, 0.5)
    claims = replicas.rows("SELECT claim_no, count(*) AS n FROM job_execution_log GROUP BY 1 ORDER BY 1")
    with capsys.disabled():
        print(f"\nkilled {delay * 1000:.0f} ms after the moment (seed {SEED}), {made} of {MANY} Jobs made: {claims}")
    assert sorted(one["metadata"]["labels"]["scheduledjobs.dev/job"] for one in jobs.all()) == sorted(
        f"report-{number}" for number in range(MANY)
    )
    assert {row["attempt"] for row in replicas.rows("SELECT attempt FROM job_execution_log")} == {1}
