"""What docs/howto/restore.md says: a real pg_dump, more runs, a restore, and what becomes of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from dev.postgres import binaries
from tests.acceptance.conftest import Replicas, until

HANDLER = '''
import asyncio, os
from pydantic import BaseModel
from scheduledjobs.handlers import handler

class Payload(BaseModel):
    seconds: float = 0

@handler("witness", payload=Payload)
async def witness(execution, payload):
    """Write what began, outside the database."""
    with open(os.environ["WITNESS"], "a") as file:
        file.write(f"{execution.job}\\n")
    await asyncio.sleep(payload.seconds)
'''

NAMES = ("slow", "asked", "once", "newer")


@pytest.fixture
def witness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that has a line for each start of a handler."""
    (tmp_path / "witness_handler.py").write_text(HANDLER)
    (tmp_path / "witness.txt").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("WITNESS", str(tmp_path / "witness.txt"))
    return tmp_path / "witness.txt"


def starts(witness: Path, name: str) -> int:
    return witness.read_text().splitlines().count(name)


def start(replicas: Replicas, name: str) -> None:
    replicas.start(name, handlers="witness_handler")
    replicas.wait_leader(other_than=None)


def program(name: str, *words: str) -> None:
    done = subprocess.run([str(binaries() / name), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def back_up(replicas: Replicas) -> Path:
    file = replicas.folder / "backup"
    program("pg_dump", "--format=custom", f"--file={file}", replicas.url)
    return file


def restore(replicas: Replicas, file: Path) -> None:
    """As the page says: an empty database in the place of the old one, then pg_restore."""
    server, _, name = replicas.url.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        conn.execute(f"CREATE DATABASE {name}".encode())
    program("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={replicas.url}", str(file))


def scheduledjobs(replicas: Replicas, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SCHEDULEDJOBS_DATABASE_URL": replicas.url}
    command = [sys.executable, "-m", "scheduledjobs", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def end(replicas: Replicas, name: str) -> None:
    """The database's machine is lost, and the operator with it: nothing is said any more."""
    replicas.signal(name, signal.SIGKILL)
    replicas.processes[name].wait()


def count(replicas: Replicas, name: str, condition: str = "true") -> int:
    counted = "SELECT coalesce(sum(coalesce(moment_count, 1)), 0)::int AS n FROM job_execution_log"
    found: int = replicas.row(f"{counted} WHERE job_name = %s AND {condition}", name)["n"]
    return found


def run_past_a_backup(replicas: Replicas, witness: Path) -> Path:
    """Back up while a run is on its way, then run a one-shot, a run-now and some seconds more; lose everything."""
    start(replicas, "one")
    retry = {"limit": 2, "backoff": "1s", "maxBackoff": "1s"}
    replicas.apply("rate", fixedRate="1s", handler="witness", misfire={"policy": "FireOnce", "grace": "1s"})
    replicas.apply("slow", fixedRate="1h", handler="witness", payload={"seconds": 4}, retry=retry)
    replicas.apply("asked", fixedRate="1h", handler="witness")
    at = datetime.now(UTC) + timedelta(seconds=15)
    replicas.apply("once", runAt=at.isoformat(), handler="witness")
    until(lambda: count(replicas, "rate", "state = 'SUCCEEDED'") >= 2)
    replicas.cluster.kubectl("annotate", "sjob", "slow", "-n", replicas.namespace, "scheduledjobs.dev/run-now=a")
    until(lambda: count(replicas, "slow", "state = 'RUNNING'") == 1)
    file = back_up(replicas)
    assert starts(witness, "once") == 0
    replicas.cluster.kubectl("annotate", "sjob", "asked", "-n", replicas.namespace, "scheduledjobs.dev/run-now=b")
    replicas.apply("newer", runAt=(datetime.now(UTC) + timedelta(seconds=2)).isoformat(), handler="witness")
    for name in NAMES:
        until(lambda name=name: count(replicas, name, "state = 'SUCCEEDED'") == 1, 30)
    until(lambda: replicas.get("asked").get("status", {}).get("lastHandledRunNow") == "b")
    until(lambda: "lastScheduleTime" in replicas.get("newer").get("status", {}))
    end(replicas, "one")
    assert [starts(witness, name) for name in NAMES] == [1, 1, 1, 1]
    return file


def goes_on(replicas: Replicas, since: datetime) -> bool:
    """Return whether moments after `since` are run."""
    return count(replicas, "rate", f"state = 'SUCCEEDED' AND fire_time > '{since.isoformat()}'") >= 2


@pytest.mark.timeout(180)
def test_a_restored_database_runs_again_what_ran_after_its_backup(replicas: Any, witness: Path) -> None:
    """Without a word: a one-shot is due, the run of the backup has lost its replica; known by their status are the
    run-now and a one-shot that the backup does not have."""
    restore(replicas, run_past_a_backup(replicas, witness))
    start(replicas, "two")
    until(lambda: starts(witness, "once") == 2, 30)
    until(lambda: starts(witness, "slow") == 2, 60)
    until(lambda: count(replicas, "asked", "reason = 'Restored'") == 1)
    assert count(replicas, "rate", "reason = 'Coalesced'") > 1
    assert (starts(witness, "asked"), starts(witness, "newer"), count(replicas, "newer")) == (1, 1, 0)
    assert replicas.row("SELECT state FROM job_definition WHERE name = 'newer'")["state"] == "COMPLETED"


@pytest.mark.timeout(180)
def test_after_the_command_restored_nothing_runs_a_second_time(replicas: Any, witness: Path) -> None:
    restore(replicas, run_past_a_backup(replicas, witness))
    live = replicas.row("SELECT count(*) AS n FROM job_execution_log WHERE state IN ('PENDING', 'RUNNING')")["n"]
    assert live >= 1  # the backup may have come upon a run of rate, too
    done = scheduledjobs(replicas, "restored")
    assert done.returncode == 0, done.stderr
    assert f"{live} executions that waited or ran (LOST/Restored)" in done.stdout
    since = datetime.now(UTC)
    start(replicas, "two")
    until(lambda: goes_on(replicas, since), 30)
    until(lambda: count(replicas, "asked", "reason = 'Restored'") == 1)
    until(lambda: not replicas.rows("SELECT FROM scheduler_instance WHERE hostname = 'one' AND dead_at IS NULL"), 60)
    assert [starts(witness, name) for name in NAMES] == [1, 1, 1, 1]
    assert count(replicas, "once", "(state, reason) = ('MISSED', 'Restored')") == 1
    assert count(replicas, "slow", "(state, reason) = ('LOST', 'Restored')") == 1
    assert count(replicas, "rate", "(state, reason) = ('MISSED', 'Restored')") > 1
    verified = scheduledjobs(replicas, "verify", "--since", "10m")
    assert verified.returncode == 0, verified.stdout
    assert "0 lost, 0 doubled" in verified.stdout


def test_the_command_refuses_while_the_operator_runs(replicas: Any) -> None:
    replicas.start("one")
    replicas.wait_leader()
    done = scheduledjobs(replicas, "restored")
    assert done.returncode == 1
    assert "the operator runs on this database (one): stop it first" in done.stderr
    future = scheduledjobs(replicas, "restored", "--until", "2999-01-01T00:00:00Z")
    assert (future.returncode, "must not lie in the future" in future.stderr) == (2, True)


def test_a_database_of_another_cluster_is_refused_until_it_is_set_free(replicas: Any) -> None:
    """Then its jobs, which this cluster does not have, are deleted ones, and their history stays."""
    replicas.start("one")
    replicas.apply("old", fixedRate="1s", handler="log")
    until(lambda: count(replicas, "old", "state = 'SUCCEEDED'") >= 2)
    replicas.stop()
    manifest = replicas.get("old")
    replicas.cluster.kubectl("delete", "sjob", "old", "-n", replicas.namespace)
    replicas.rows("UPDATE leadership SET cluster = %s RETURNING cluster", str(uuid4()))
    replicas.start("two")
    until(lambda: "this database belongs to the cluster" in replicas.logs())
    replicas.stop()
    replicas.rows("UPDATE leadership SET cluster = NULL RETURNING cluster")  # as the page says
    # As a backup of the cluster brings it back: the annotations are there, the uid is another one.
    manifest["metadata"] = {"name": "old", "annotations": {"scheduledjobs.dev/run-now": "t"}}
    replicas.cluster.kubectl("apply", "-n", replicas.namespace, "-f", "-", stdin=json.dumps(manifest))
    replicas.start("three")
    states = "SELECT state FROM job_definition WHERE name = 'old' ORDER BY created_at"
    until(lambda: [row["state"] for row in replicas.rows(states)] == ["DELETED", "ACTIVE"], 30)
    until(lambda: count(replicas, "old", "(state, reason) = ('SKIPPED', 'PresentAtCreation')") == 1)
    jobs = "SELECT count(DISTINCT job_id) AS n FROM job_execution_log WHERE job_name = 'old'"
    assert replicas.row(jobs)["n"] == 2
