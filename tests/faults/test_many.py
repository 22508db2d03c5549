"""Large numbers: ten thousand jobs in one second, and a thousand executions that all fail."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.acceptance.conftest import job, until
from tests.faults.stage import NAMES, Stage, figures, load

MANY = 10_000
LAST_START_SECONDS = 30.0
STATUSES_PER_SECOND = 50


def iso(moment: datetime) -> str:
    """Return a moment as it stands in a manifest."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def percentile(values: list[float], share: float) -> float:
    """Return the value below which that share of sorted values lies."""
    return values[min(len(values) - 1, int(len(values) * share))]


def test_ten_thousand_jobs_are_due_in_one_second(stage: Stage) -> None:
    """Statuses are patched at 50 a second by rule, so those of ten thousand jobs are not waited for."""
    stage.start_all(handlers="witness,mischief", slots="200")
    began = time.monotonic()
    moment = (datetime.now(UTC) + timedelta(seconds=120)).replace(microsecond=0)
    payload = {"do": "sleep"}
    stage.create([job(f"many-{n}", handler="mischief-quick", runAt=iso(moment), payload=payload) for n in range(MANY)])
    until(lambda: stage.row("SELECT count(*) AS n FROM job_definition")["n"] == MANY, 60)
    created = time.monotonic() - began
    begin = (datetime.now(UTC) + timedelta(seconds=4)).replace(microsecond=0)
    stage.load(load(begin))
    assert stage.now() < moment - timedelta(seconds=5), "the jobs were created too slowly"
    until(lambda: stage.now() > moment, 130)
    started = "handler = 'mischief-quick' AND started_at IS NOT NULL"
    until(lambda: stage.count(started) == MANY, 60, 0.5)
    rows = stage.rows("SELECT lateness_ms, attempt, state FROM job_execution_log WHERE handler = 'mischief-quick'")
    assert len(rows) == MANY
    assert all(row["attempt"] == 1 for row in rows)
    times = sorted(row["lateness_ms"] / 1000 for row in rows)
    others = sorted(
        row["late"]
        for row in stage.rows(
            "SELECT lateness_ms / 1000.0::float8 AS late FROM job_execution_log WHERE handler LIKE 'witness%%'"
            " AND lateness_ms IS NOT NULL AND trigger = 'SCHEDULE' AND attempt = 1 AND fire_time BETWEEN %s AND %s"
            " AND job_name SIMILAR TO '(fine|forbid|allow|cron|busy)-%%'",
            moment - timedelta(seconds=2),
            moment + timedelta(seconds=8),
        )
    )
    stage.judge(
        figures(
            created_in=created,
            first=times[0],
            p50=percentile(times, 0.5),
            p99=percentile(times, 0.99),
            last=times[-1],
            others_p50_late=percentile(others, 0.5),
            others_max_late=others[-1],
        ),
        statuses=False,
    )
    assert times[-1] < LAST_START_SECONDS


def failures(start: datetime, count: int) -> list[dict[str, Any]]:
    """Return jobs whose every attempt fails, with two retries."""
    retry = {"limit": 2, "backoff": "1s"}
    return [
        job(
            f"failing-{n}",
            handler="witness",
            payload={"seconds": 0, "fail": 1000},
            fixedRate="1s",
            startTime=iso(start),
            endTime=iso(start + timedelta(seconds=20)),
            concurrencyPolicy="Allow",
            retry=retry,
        )
        for n in range(count)
    ]


def statuses(stage: Stage) -> set[tuple[int, int, str]]:
    """Return what the statuses of the jobs that fail say."""
    found = [item["status"] for item in stage.items() if item["metadata"]["name"].startswith("failing-")]
    return {
        (each["consecutiveFailures"], each["lastExecution"]["attempts"], each["lastExecution"]["outcome"])
        for each in found
    }


def test_a_thousand_executions_fail_with_all_their_retries(stage: Stage) -> None:
    stage.start_all()
    start = (datetime.now(UTC) + timedelta(seconds=5)).replace(microsecond=0)
    stage.load([*load(start), *failures(start, 50)])
    written = {name: (stage.folder / f"{name}.log").stat().st_size for name in NAMES}
    failed = "job_name LIKE 'failing-%%' AND state = 'FAILED'"
    until(lambda: stage.count(failed) == 1000, 60, 0.5)
    assert stage.count(f"{failed} AND attempt = 3") == 1000
    attempts = stage.row("SELECT count(*) AS n FROM job_execution_attempt AS a WHERE a.state = 'FAILED'")["n"]
    assert attempts >= 2000
    logged = sum((stage.folder / f"{name}.log").stat().st_size - written[name] for name in NAMES)
    events = stage.cluster.kubectl("get", "events.events.k8s.io", "-n", stage.namespace, "--no-headers").stdout
    told = [line for line in events.splitlines() if "failing-" in line]
    late = sorted(
        float(row["late"])
        for row in stage.rows(
            "SELECT lateness_ms / 1000.0 AS late FROM job_execution_log WHERE job_name LIKE 'fine-%%'"
            " AND fire_time > %s AND lateness_ms IS NOT NULL",
            start,
        )
    )
    stage.judge(
        figures(
            bytes_per_failure=logged / 1000,
            events=len(told),
            others_p99_late=percentile(late, 0.99),
        )
    )
    until(lambda: statuses(stage) == {(20, 3, "Failed")}, 10, 0.5)
    assert logged / 1000 < 100
    assert 0 < len(told) <= 100
    assert percentile(late, 0.99) < 1.5
