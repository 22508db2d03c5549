"""A worker without its database: not given up too soon, and gone in time. And what stands behind the leader's care."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from tests.acceptance.conftest import job, until
from tests.faults.stage import NAMES, Stage, figures

LONG_SECONDS = 60.0
LONG_JOBS = 48
"""More than the slots of one replica, so that whoever claims first leaves some to the others."""

PATIENCE_SECONDS = 6.0
"""Less than the eight seconds for which a replica trusts itself, and the ten after which it is declared dead."""


def long_jobs(count: int) -> list[dict[str, object]]:
    """Jobs that run once and long, and would be run again if they were lost."""
    at = (datetime.now(UTC) + timedelta(seconds=3)).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    retry = {"limit": 2, "backoff": "1s"}
    return [
        job(f"long-{n}", handler="witness", runAt=at, payload={"seconds": LONG_SECONDS}, retry=retry)
        for n in range(count)
    ]


def worker_with_long_jobs(stage: Stage) -> tuple[str, int]:
    """Start everything; return a replica that does not lead and runs some of the long jobs, and how many."""
    stage.start_all()
    stage.load()
    stage.create(long_jobs(LONG_JOBS))
    running = """
        SELECT i.hostname, count(*) AS n FROM job_execution_log AS e JOIN scheduler_instance AS i ON i.id = e.claimed_by
        WHERE e.job_name LIKE 'long-%' AND e.state = 'RUNNING' GROUP BY 1
    """
    until(lambda: sum(row["n"] for row in stage.rows(running)) == LONG_JOBS, 20)
    by_name = {row["hostname"]: row["n"] for row in stage.rows(running)}
    worker = next(name for name in NAMES if name != stage.leader() and by_name.get(name))
    return worker, by_name[worker]


def test_a_worker_that_is_silent_for_a_moment_is_not_given_up(stage: Stage) -> None:
    """Its link stands still for six seconds: nothing that it runs is lost, and nothing is run again."""
    worker, count = worker_with_long_jobs(stage)
    stage.db[worker].stall()
    stage.run_for(PATIENCE_SECONDS)
    stage.db[worker].flow()
    assert stage.count("state = 'LOST'") == 0
    stage.judge(figures(long_runs_on_it=count, lost=stage.count("state = 'LOST'")), LONG_SECONDS + 30)
    assert stage.count("job_name LIKE 'long-%%' AND state = 'SUCCEEDED' AND attempt = 1") == LONG_JOBS


def test_a_worker_that_is_cut_off_stops_before_its_work_is_given_to_another(stage: Stage) -> None:
    """Past its trust it stops what it runs; ten seconds after its last heartbeat the leader gives that to others."""
    worker, count = worker_with_long_jobs(stage)
    stage.db[worker].refused = True
    stage.db[worker].cut()
    again = "job_name LIKE 'long-%%' AND attempt > 1"
    until(lambda: stage.count(again) >= count, 30)
    stage.run_for(3)
    stage.heal()
    stopped = [note for note in stage.notes() if note["what"] == "stop" and note["job"].startswith("long-")]
    assert len(stopped) == count
    stage.judge(figures(long_runs_on_it=count, run_again=stage.count(again)), LONG_SECONDS + 60)


def test_a_second_row_for_a_moment_is_refused(stage: Stage) -> None:
    """The last line of defence behind term, lock and compare-and-set: a defect above it would be refused by the key."""
    stage.start_all()
    stage.load()
    stage.run_for(3)
    columns = "fire_time, namespace, job_name, state, trigger, handler, job_id, version, run_key"
    again = f"INSERT INTO job_execution_log ({columns}) SELECT {columns} FROM job_execution_log ORDER BY id LIMIT 1"
    with psycopg.connect(stage.url, autocommit=True) as conn, pytest.raises(psycopg.errors.UniqueViolation):
        conn.execute(again.encode())
    stage.judge(figures(refused=1))
