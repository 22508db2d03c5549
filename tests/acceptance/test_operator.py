"""The operator as its users see it: kubectl in, rows and status out."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from typing import Any

import psycopg
import pytest
from tests.acceptance.conftest import create, job, until

from scheduledjobs import __version__


def status(replicas: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = replicas.get(name).get("status", {})
    return found


def ready(replicas: Any, name: str) -> dict[str, Any]:
    conditions = status(replicas, name).get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == "Ready"), {})


def states(replicas: Any, name: str) -> list[str]:
    query = "SELECT state FROM job_execution_log WHERE job_name = %s ORDER BY fire_time, id"
    return [row["state"] for row in replicas.rows(query, name)]


def test_each_kind_of_schedule_fires_and_shows_its_state(replicas: Any) -> None:
    replicas.start("one")
    replicas.wait_leader()
    run_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 4))
    replicas.apply("cron", schedule="* * * * * *", handler="log")
    replicas.apply("rate", fixedRate="1s", handler="log", payload={"message": "hello"})
    replicas.apply("delay", fixedDelay="1s", handler="log")
    replicas.apply("once", runAt=run_at, handler="log")
    for name in ("cron", "rate", "delay", "once"):
        until(lambda name=name: "SUCCEEDED" in states(replicas, name))
        until(lambda name=name: status(replicas, name).get("lastExecution", {}).get("outcome") == "Succeeded")
    waited = replicas.cluster.kubectl(
        "wait", "--for=condition=Ready", "scheduledjob", "--all", "-n", replicas.namespace, "--timeout=5s"
    )
    assert waited.stdout.count("condition met") == 4
    until(lambda: ready(replicas, "once").get("reason") == "Completed")
    assert status(replicas, "rate")["schedule"] == "every 1s"
    output = replicas.rows("SELECT output FROM job_execution_output LIMIT 1")
    assert "INFO hello" in output[0]["output"]


def test_what_cannot_work_says_why_and_everything_else_goes_on(replicas: Any) -> None:
    replicas.start("one")
    replicas.apply("good", fixedRate="1s", handler="log")
    replicas.apply("never", schedule="0 0 31 2 *", handler="log")
    replicas.apply("unknown", fixedRate="1s", handler="elsewhere")
    replicas.apply("misfit", fixedRate="1s", handler="log", payload={"seconds": "many"})
    replicas.apply("huge", fixedRate="1s", handler="log", payload={"message": "x" * 40_000})
    expected = {
        "never": ("InvalidSchedule", "never comes"),
        "unknown": ("HandlerNotFound", "elsewhere"),
        "misfit": ("InvalidPayload", "spec.payload.seconds"),
        "huge": ("InvalidPayload", "at most 32768"),
    }
    for name, (reason, sentence) in expected.items():
        condition = until(lambda name=name: ready(replicas, name))
        assert (condition["status"], condition["reason"]) == ("False", reason)
        assert sentence in condition["message"]
        stalled = [c["status"] for c in status(replicas, name)["conditions"] if c["type"] == "Stalled"]
        assert stalled == ["True"]
    until(lambda: "SUCCEEDED" in states(replicas, "good"))
    assert not {state for name in expected for state in states(replicas, name)} - {"SKIPPED"}
    until(lambda: _events(replicas) >= {"InvalidSchedule", "HandlerNotFound", "InvalidPayload"})


def _events(replicas: Any) -> set[str]:
    said = replicas.cluster.kubectl("get", "events.events.k8s.io", "-n", replicas.namespace, "-o", "json").stdout
    return {event["reason"] for event in json.loads(said)["items"]}


def test_run_now_and_suspend_by_kubectl(replicas: Any) -> None:
    replicas.start("one")
    replicas.wait_leader()
    replicas.apply("rare", schedule="0 0 1 1 *", handler="log")
    until(lambda: ready(replicas, "rare").get("status") == "True")
    replicas.cluster.kubectl("annotate", "sjob", "rare", "-n", replicas.namespace, "scheduledjobs.dev/run-now=token-1")
    until(lambda: states(replicas, "rare") == ["SUCCEEDED"])
    until(lambda: status(replicas, "rare").get("lastHandledRunNow") == "token-1")
    assert status(replicas, "rare")["lastExecution"]["trigger"] == "Manual"
    replicas.apply("busy", fixedRate="1s", handler="log")
    until(lambda: len(states(replicas, "busy")) >= 2)
    patch = json.dumps({"spec": {"suspend": True}})
    replicas.cluster.kubectl("patch", "sjob", "busy", "-n", replicas.namespace, "--type=merge", "-p", patch)
    until(lambda: status(replicas, "busy").get("suspended") is True)
    until(lambda: "SKIPPED" in states(replicas, "busy"), seconds=30)
    assert "PENDING" not in states(replicas, "busy")


def test_a_deleted_job_stops_and_its_history_stays(replicas: Any) -> None:
    replicas.start("one")
    replicas.apply("busy", fixedRate="1s", handler="log")
    until(lambda: "SUCCEEDED" in states(replicas, "busy"))
    replicas.cluster.kubectl("delete", "sjob", "busy", "-n", replicas.namespace)
    until(lambda: replicas.row("SELECT state FROM job_definition")["state"] == "DELETED")
    assert "SUCCEEDED" in states(replicas, "busy")


def test_a_job_deleted_and_one_created_while_nobody_watched_are_noticed(replicas: Any) -> None:
    replicas.start("one")
    replicas.apply("old", fixedRate="1s", handler="log")
    until(lambda: "SUCCEEDED" in states(replicas, "old"))
    replicas.stop()
    replicas.cluster.kubectl("delete", "sjob", "old", "-n", replicas.namespace)
    replicas.apply("new", fixedRate="1s", handler="log")
    replicas.start("two")
    until(lambda: "SUCCEEDED" in states(replicas, "new"))
    until(lambda: replicas.rows("SELECT 1 FROM job_definition WHERE name = 'old' AND state = 'DELETED'"))


def test_of_many_jobs_deleted_while_nobody_watched_none_runs_what_it_missed(
    replicas: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the compare finds is mirrored 200 at a time: until it is, the jobs stand there as if they lived."""
    monkeypatch.setenv("KUBECONFIG", str(replicas.cluster.kubeconfig))
    many = [job(f"job-{n}", fixedRate="1h") for n in range(700)]
    asyncio.run(create(replicas.namespace, many))
    replicas.start("one")
    count = "SELECT count(*) AS n FROM job_definition WHERE state = %s"
    until(lambda: replicas.row(count, "ACTIVE")["n"] == len(many), seconds=60)
    replicas.stop()
    ago = "next_fire_at - interval '3 hours'"
    with psycopg.connect(replicas.url, autocommit=True) as conn:
        conn.execute(f"UPDATE job_definition SET next_fire_at = {ago}, next_due_at = {ago}")
    replicas.cluster.kubectl("delete", "sjob", "--all", "--wait=false", "-n", replicas.namespace)
    replicas.start("two")
    until(lambda: replicas.row(count, "DELETED")["n"] == len(many), seconds=60)
    assert {row["state"] for row in replicas.rows("SELECT state FROM job_execution_log")} <= {"MISSED", "SKIPPED"}


def test_a_drained_replica_lets_its_work_finish_and_exits_0(replicas: Any) -> None:
    replicas.start("one")
    replicas.apply("slow", fixedRate="1h", handler="log", payload={"seconds": 2})
    until(lambda: ready(replicas, "slow").get("status") == "True")
    replicas.cluster.kubectl("annotate", "sjob", "slow", "-n", replicas.namespace, "scheduledjobs.dev/run-now=x")
    until(lambda: states(replicas, "slow") == ["RUNNING"])
    replicas.signal("one", signal.SIGTERM)
    assert replicas.processes["one"].wait(10) == 0
    assert states(replicas, "slow") == ["SUCCEEDED"]
    assert replicas.row("SELECT dead_at IS NOT NULL AS gone FROM scheduler_instance")["gone"]


def test_a_replica_tells_how_it_is_and_who_led(replicas: Any) -> None:
    replicas.start("one")
    query = "SELECT database_ms, loop_lag_ms FROM scheduler_instance WHERE database_ms > 0 AND loop_lag_ms > 0"
    (row,) = until(lambda: replicas.rows(query))
    assert row["loop_lag_ms"] < 10_000
    replicas.wait_leader()
    (term,) = until(lambda: replicas.rows("SELECT term, holder FROM leadership_term"))
    assert (term["term"], term["holder"].split("_")[0]) == (1, "one")


def test_a_replica_tells_that_something_changed_once_a_second_however_much_does(replicas: Any) -> None:
    replicas.start("one")
    for number in range(10):
        replicas.apply(f"busy-{number}", fixedRate="1s", handler="log")
    until(lambda: len(replicas.rows("SELECT 1 FROM job_execution_log WHERE state = 'SUCCEEDED'")) > 20)
    with psycopg.connect(replicas.url, autocommit=True) as conn:
        conn.execute("LISTEN scheduledjobs_changed")
        heard = len(list(conn.notifies(timeout=6)))
    assert 3 <= heard <= 7


def test_work_beyond_the_grace_is_lost_and_says_so(replicas: Any) -> None:
    replicas.start("one", drain_seconds="0.5")
    replicas.apply("slow", fixedRate="1h", handler="log", payload={"seconds": 60})
    until(lambda: ready(replicas, "slow").get("status") == "True")
    replicas.cluster.kubectl("annotate", "sjob", "slow", "-n", replicas.namespace, "scheduledjobs.dev/run-now=x")
    until(lambda: states(replicas, "slow") == ["RUNNING"])
    replicas.signal("one", signal.SIGTERM)
    assert replicas.processes["one"].wait(10) == 0
    row = replicas.row("SELECT state, reason FROM job_execution_log")
    assert (row["state"], row["reason"]) == ("LOST", "Drained")


def test_an_execution_of_a_killed_replica_is_lost_within_15_seconds(replicas: Any) -> None:
    replicas.start("one")
    replicas.apply("slow", fixedRate="1h", handler="log", payload={"seconds": 60})
    until(lambda: ready(replicas, "slow").get("status") == "True")
    replicas.cluster.kubectl("annotate", "sjob", "slow", "-n", replicas.namespace, "scheduledjobs.dev/run-now=x")
    until(lambda: states(replicas, "slow") == ["RUNNING"])
    replicas.start("two")
    until(lambda: len(replicas.rows("SELECT 1 FROM scheduler_instance")) == 2)
    replicas.signal("one", signal.SIGKILL)
    until(lambda: states(replicas, "slow") == ["LOST"], seconds=17)


def test_firing_outlives_an_outage_of_the_api_server(replicas: Any) -> None:
    replicas.start("one")
    replicas.apply("busy", fixedRate="1s", handler="log")
    until(lambda: "SUCCEEDED" in states(replicas, "busy"))
    replicas.cluster.stop_apiserver(signal.SIGKILL)
    try:
        before = len(states(replicas, "busy"))
        until(lambda: len(states(replicas, "busy")) >= before + 8)
    finally:
        replicas.cluster.start_apiserver()
    until(lambda: status(replicas, "busy").get("lastExecution"), seconds=40)
    row = replicas.row(
        "SELECT count(*) AS n, 1 + extract(epoch FROM max(fire_time) - min(fire_time)) AS e FROM job_execution_log"
    )
    assert row["n"] == row["e"]


def test_probes_and_metrics_are_served(replicas: Any) -> None:
    replicas.start("one")
    replicas.wait_leader()
    port = until(lambda: _port(replicas))
    until(lambda: _get(port, "/readyz") == (200, "ok\n"))
    assert _get(port, "/livez") == (200, "ok\n")
    leads = f'leader_election_master_status{{name="{replicas.lease}"}} 1.0'
    until(lambda: leads in _get(port, "/metrics")[1])
    assert f'scheduledjobs_build_info{{version="{__version__}"}} 1.0' in _get(port, "/metrics")[1]
    assert 'scheduledjobs_fires_total{reason="TooLate",state="MISSED"} 0.0' in _get(port, "/metrics")[1]
    assert replicas.row("SELECT version FROM scheduler_instance")["version"] == __version__


def _port(replicas: Any) -> int | None:
    for line in (replicas.folder / "one.log").read_text().splitlines():
        found = json.loads(line)
        if found["event"] == "serving probes and metrics":
            return int(found["port"])
    return None


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"SCHEDULEDJOBS_DATABASE_URL": ""}, "SCHEDULEDJOBS_DATABASE_URL: must look like postgresql://"),
        ({"SCHEDULEDJOBS_SLOTS": "none"}, "SCHEDULEDJOBS_SLOTS: should be a valid integer"),
        ({"KUBECONFIG": "/nowhere/config"}, "KUBECONFIG: /nowhere/config gives no access"),
        ({"SCHEDULEDJOBS_HANDLERS": "no.such.module"}, "SCHEDULEDJOBS_HANDLERS: module no.such.module"),
        ({"SCHEDULEDJOBS_HTTP_ALLOW": "everything"}, "SCHEDULEDJOBS_HTTP_ALLOW: must be CIDRs"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(cluster: Any, database: str, changes: dict[str, str], sentence: str) -> None:
    environment = {
        **os.environ,
        "KUBECONFIG": str(cluster.kubeconfig),
        "SCHEDULEDJOBS_DATABASE_URL": database,
        "SCHEDULEDJOBS_METRICS_PORT": "0",
        "SCHEDULEDJOBS_WEB": "false",
        **changes,
    }
    command = [sys.executable, "-m", "scheduledjobs", "run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_database_that_is_down_is_waited_for_and_named(replicas: Any, postgres_server: Any) -> None:
    replicas.start("one", database_url="postgresql://nobody@127.0.0.1:1/none")
    log = replicas.folder / "one.log"
    until(lambda: log.exists() and "SCHEDULEDJOBS_DATABASE_URL" in log.read_text())
    replicas.signal("one", signal.SIGTERM)
    assert replicas.processes["one"].wait(10) == 0


def test_a_status_that_somebody_else_wrote_is_reported_again(replicas: Any) -> None:
    replicas.start("one")
    replicas.apply("quiet", schedule="0 0 1 1 *", handler="log")
    until(lambda: ready(replicas, "quiet").get("status") == "True")
    patch = json.dumps({"status": {"schedule": "forged", "active": 7}})
    words = ("patch", "sjob", "quiet", "-n", replicas.namespace, "--subresource=status", "--type=merge", "-p", patch)
    replicas.cluster.kubectl(*words)
    until(lambda: status(replicas, "quiet")["schedule"] == "0 0 1 1 *" and status(replicas, "quiet")["active"] == 0)


def test_an_outage_of_the_database_ends_no_running_work_and_loses_no_moment(
    replicas: Any, postgres_server: Any
) -> None:
    replicas.start("one")
    replicas.apply("slow", fixedRate="1h", handler="log", payload={"seconds": 14})
    replicas.apply("busy", fixedRate="1s", handler="log")
    until(lambda: "SUCCEEDED" in states(replicas, "busy") and ready(replicas, "slow"))
    replicas.cluster.kubectl("annotate", "sjob", "slow", "-n", replicas.namespace, "scheduledjobs.dev/run-now=x")
    until(lambda: states(replicas, "slow") == ["RUNNING"])
    postgres_server.stop(signal.SIGQUIT)
    time.sleep(11)  # longer than a replica trusts itself without a heartbeat
    postgres_server.start()
    until(lambda: states(replicas, "slow") == ["SUCCEEDED"], seconds=30)
    count = len(states(replicas, "busy"))
    until(lambda: len(states(replicas, "busy")) > count + 3)
    query = """
        SELECT sum(coalesce(moment_count, 1)) AS n,
            1 + extract(epoch FROM max(coalesce(last_fire_time, fire_time)) - min(fire_time)) AS e
        FROM job_execution_log WHERE job_name = 'busy'
    """
    row = replicas.row(query)
    assert row["n"] == row["e"]


def test_a_moment_that_was_skipped_is_told(replicas: Any) -> None:
    replicas.start("one")
    replicas.apply("long", fixedRate="1s", handler="log", payload={"seconds": 5})
    until(lambda: "SKIPPED" in states(replicas, "long"))
    until(lambda: "Overlap" in _events(replicas))
    row = replicas.row("SELECT * FROM job_execution_log WHERE state = 'SKIPPED' ORDER BY fire_time LIMIT 1")
    assert row["reason"] == "Overlap"
    assert row["blocked_by"] is not None


def test_a_run_that_failed_is_told_though_it_skipped_moments(replicas: Any) -> None:
    """The rows of what it skipped are newer than its own."""
    replicas.start("one")
    replicas.apply("long", fixedRate="1s", handler="log", payload={"seconds": 2.5, "fail": "the ledger is closed"})
    until(lambda: "FAILED" in states(replicas, "long"))
    until(lambda: "Error" in _events(replicas))
    assert "SKIPPED" in states(replicas, "long")


def test_a_moment_that_waited_too_long_is_told(replicas: Any) -> None:
    replicas.start("one", slots="1", drain_seconds="0.5")
    replicas.apply("slow", fixedRate="1h", handler="log", payload={"seconds": 60})
    until(lambda: ready(replicas, "slow").get("status") == "True")
    replicas.cluster.kubectl("annotate", "sjob", "slow", "-n", replicas.namespace, "scheduledjobs.dev/run-now=x")
    until(lambda: states(replicas, "slow") == ["RUNNING"])
    replicas.apply("late", fixedRate="1s", startingDeadline="1s", handler="log")
    until(lambda: "MISSED" in states(replicas, "late"))
    until(lambda: "StartingDeadlineExceeded" in _events(replicas))
