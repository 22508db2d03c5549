"""Two replicas under load: every due second has exactly one row, whoever is killed in the middle.

SCHEDULEDJOBS_TEST_SECONDS makes the runs longer: 180 for the three minutes of the project's claim.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

SECONDS = float(os.environ.get("SCHEDULEDJOBS_TEST_SECONDS", "15"))
JOBS = 20


def start_load(replicas: Any) -> None:
    for name in ("one", "two"):
        replicas.start(name, slots="8")
    replicas.wait_leader()
    for number in range(JOBS):
        replicas.apply(f"tick-{number}", fixedRate="1s", handler="log", payload={"seconds": 0.8})


def check_ledger(replicas: Any, capsys: Any, title: str) -> dict[str, Any]:
    """Every second from each job's anchor to its newest row is there once, and none was early."""
    jobs = replicas.rows(
        """
        SELECT j.name, count(*) AS rows, count(DISTINCT e.fire_time) AS moments,
            1 + extract(epoch FROM max(e.fire_time) - min(e.fire_time))::int AS expected,
            min(e.fire_time) - j.anchor_at AS first,
            count(*) FILTER (WHERE e.started_at < e.fire_time) AS early
        FROM job_definition AS j JOIN job_execution_log AS e ON e.job_id = j.id
        GROUP BY j.id
        """
    )
    assert len(jobs) == JOBS
    for job in jobs:
        assert job["rows"] == job["moments"] == job["expected"], job
        assert job["early"] == 0, job
        assert job["first"].total_seconds() == 1, job
    figures: dict[str, Any] = replicas.row(
        """
        SELECT count(*) AS rows, count(*) FILTER (WHERE state = 'SUCCEEDED') AS succeeded,
            count(*) FILTER (WHERE state = 'SKIPPED') AS skipped, count(*) FILTER (WHERE state = 'LOST') AS lost,
            percentile_disc(0.5) WITHIN GROUP (ORDER BY lateness_ms) AS p50_ms,
            percentile_disc(0.99) WITHIN GROUP (ORDER BY lateness_ms) AS p99_ms, max(lateness_ms) AS max_ms
        FROM job_execution_log
        """
    )
    with capsys.disabled():
        print(f"\n{title}: {figures}")
    return figures


def longest_gap_ms(replicas: Any) -> float:
    """The longest time without any decided moment: rows' own clock is the database's."""
    row = replicas.row(
        """
        SELECT max(gap) AS gap FROM (
            SELECT extract(epoch FROM decided - lag(decided) OVER (ORDER BY decided)) * 1000 AS gap
            FROM (SELECT coalesce(claimed_at, finished_at) AS decided FROM job_execution_log) AS d
        ) AS g
        """
    )
    return round(float(row["gap"]))


@pytest.mark.timeout(SECONDS + 120)
def test_every_due_second_has_one_row_and_both_replicas_execute(replicas: Any, capsys: Any) -> None:
    start_load(replicas)
    time.sleep(SECONDS)  # the load itself, not a wait for something
    check_ledger(replicas, capsys, f"two replicas, {SECONDS:g} s")
    shares = replicas.rows(
        """
        SELECT i.hostname, count(*)::float / sum(count(*)) OVER () AS share
        FROM job_execution_log AS e JOIN scheduler_instance AS i ON i.id = e.claimed_by GROUP BY i.hostname
        """
    )
    assert len(shares) == 2
    assert all(share["share"] >= 0.1 for share in shares), shares


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["sigterm", "sigkill"])
def test_rows_go_on_when_the_leader_dies(replicas: Any, capsys: Any, tmp_path: Path, number: signal.Signals) -> None:
    start_load(replicas)
    leader = replicas.wait_leader()
    time.sleep(SECONDS / 3)
    killed_at = time.monotonic()
    replicas.signal(leader, number)
    replicas.wait_leader(other_than=leader)
    took = time.monotonic() - killed_at
    time.sleep(SECONDS * 2 / 3)
    check_ledger(replicas, capsys, f"{number.name} of the leader: next leader after {took:.2f} s")
    with capsys.disabled():
        print(f"longest gap without a row: {longest_gap_ms(replicas):.0f} ms")
    assert took < (2.0 if number is signal.SIGTERM else 4.0)
