"""The rules under load on real replicas: hours of downtime, overlaps, and a leader that dies."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.acceptance.conftest import create, job, until

JOBS = 1000
POLICIES = ("FireOnce", "FireAll", "Skip")


def set_clock(replicas: Any, offset: str) -> None:
    """Move the database's time for every session that begins from now on."""
    with psycopg.connect(replicas.url, autocommit=True) as conn:
        name = conn.info.dbname
        conn.execute(f"ALTER DATABASE {name} SET scheduledjobs.clock_offset = '{offset}'".encode())


@pytest.mark.timeout(240)
def test_three_hours_of_downtime_are_made_up_by_rule_and_delay_nobody(
    replicas: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(replicas.cluster.kubeconfig))
    jobs = [
        job(f"{policy.lower()}-{n}", schedule="* * * * *", misfire={"policy": policy, "limit": 100})
        for policy in POLICIES
        for n in range(JOBS)
    ]
    asyncio.run(create(replicas.namespace, [*jobs, job("prompt", fixedRate="1s", concurrencyPolicy="Allow")]))
    replicas.start("one", slots="200")
    until(lambda: replicas.row("SELECT count(*) AS n FROM job_definition")["n"] == 3 * JOBS + 1, 60)
    until(lambda: replicas.row("SELECT count(*) AS n FROM job_execution_log WHERE job_name = 'prompt'")["n"] > 0)
    replicas.stop()
    before = replicas.row("SELECT max(fire_time) AS at FROM job_execution_log WHERE job_name = 'prompt'")["at"]
    set_clock(replicas, "3h")
    replicas.start("two", slots="200")
    query = "SELECT count(*) AS n FROM job_execution_log WHERE job_name LIKE %s AND reason = %s"
    for name, reason in (("fireonce-%", "Coalesced"), ("fireall-%", "OverLimit"), ("skip-%", "TooLate")):
        until(lambda name=name, reason=reason: replicas.row(query, name, reason)["n"] >= JOBS, 60)
    late = until(lambda: on_time(replicas, before), 30)
    with capsys.disabled():
        print(f"\nafter 3 h of downtime: first on-time fire of another job {late['lateness_ms']} ms late")
    check_rows(replicas)
    assert late["state"] == "SUCCEEDED"
    assert late["lateness_ms"] < 250


def on_time(replicas: Any, before: Any) -> dict[str, Any] | None:
    rows = replicas.rows(
        "SELECT state, lateness_ms FROM job_execution_log WHERE job_name = 'prompt' AND trigger = 'SCHEDULE'"
        " AND fire_time > %s + interval '2h' AND moment_count IS NULL ORDER BY fire_time LIMIT 1",  # no range's rest
        before,
    )
    return rows[0] if rows and rows[0]["state"] not in ("PENDING", "RUNNING") else None


def check_rows(replicas: Any) -> None:
    """Per job: one catch-up under FireOnce, 100 under FireAll, none under Skip; every minute has its row."""
    rows = replicas.rows(
        """
        SELECT split_part(job_name, '-', 1) AS policy, job_id,
            count(*) FILTER (WHERE trigger = 'CATCH_UP') AS made_up,
            sum(coalesce(moment_count, 1)) AS moments,
            1 + extract(epoch FROM max(coalesce(last_fire_time, fire_time)) - min(fire_time))::int / 60 AS expected
        FROM job_execution_log WHERE job_name <> 'prompt' GROUP BY 1, 2
        """
    )
    assert len(rows) == 3 * JOBS
    for row in rows:
        assert row["made_up"] == {"fireonce": 1, "fireall": 100, "skip": 0}[row["policy"]], row
        assert row["moments"] == row["expected"], row


HANDLER = '''
import os, time
from scheduledjobs.handlers import handler

@handler("witness")
async def witness(execution, payload):
    """Write when it starts and ends, outside the database."""
    import asyncio
    started = time.time()
    await asyncio.sleep(0.35)
    line = f"{execution.job} {started} {time.time()}\\n"
    fd = os.open(os.environ["WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line.encode()); os.fsync(fd); os.close(fd)
'''


@pytest.mark.timeout(180)
def test_forbid_never_overlaps_with_run_nows_and_a_leader_that_dies(
    replicas: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "witness_handler.py").write_text(HANDLER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("WITNESS", str(tmp_path / "witness.txt"))
    for name in ("one", "two", "three"):
        replicas.start(name, handlers="witness_handler")
    leader = replicas.wait_leader()
    for n in range(10):
        replicas.apply(f"forbid-{n}", fixedRate="1s", handler="witness")
    killed = False
    started = time.monotonic()
    number = 0
    while time.monotonic() - started < 25:
        number += 1
        replicas.cluster.kubectl(
            "annotate", "sjob", f"forbid-{number % 10}", "-n", replicas.namespace, "--overwrite",
            f"scheduledjobs.dev/run-now=t{number}",
        )  # fmt: skip
        if not killed and time.monotonic() - started > 10:
            killed = True
            replicas.signal(leader, signal.SIGKILL)
    rows = replicas.rows(
        "SELECT a.job_name, a.id, b.id AS other FROM job_execution_log a JOIN job_execution_log b"
        " ON a.job_id = b.job_id AND a.id < b.id AND a.claim_no > 0 AND b.claim_no > 0"
        " AND a.started_at < coalesce(b.finished_at, now()) AND b.started_at < coalesce(a.finished_at, now())"
    )
    assert rows == []
    counts = replicas.row(
        "SELECT count(*) AS n, count(*) FILTER (WHERE run_key <> '') AS manual,"
        " count(*) FILTER (WHERE reason = 'Overlap') AS skipped FROM job_execution_log"
    )
    assert counts["n"] >= 200
    assert counts["skipped"] > 0
    check_witness((tmp_path / "witness.txt").read_text())
    print(json.dumps(counts))


def check_witness(text: str) -> None:
    """The handlers' own account, by wall clock, agrees."""
    runs: dict[str, list[tuple[float, float]]] = {}
    for line in text.splitlines():
        name, started, ended = line.split()
        runs.setdefault(name, []).append((float(started), float(ended)))
    assert sum(map(len, runs.values())) > 100
    for name, spans in runs.items():
        spans.sort()
        for (_, ended), (started, _) in pairwise(spans):
            assert started >= ended, name


SECONDS = float(os.environ.get("SCHEDULEDJOBS_TEST_SECONDS", "15"))
CHURN = (
    {"suspend": True},
    {"suspend": False},
    {"fixedRate": "3s"},
    {"fixedRate": "2s"},
    {"concurrencyPolicy": "Queue"},
    {"concurrencyPolicy": "Forbid"},
)


def mixed(number: int) -> dict[str, Any]:
    """A job of one kind or another."""
    kinds: tuple[dict[str, Any], ...] = (
        {"schedule": "*/5 * * * * *"},
        {"schedule": "* * * * *", "timeZone": "Europe/Berlin", "jitter": "20s"},
        {"fixedRate": "2s", "concurrencyPolicy": "Queue", "payload": {"seconds": 0.5}},
        {"fixedDelay": "3s", "retry": {"limit": 1, "backoff": "1s"}, "payload": {"fail": "often"}},
        {"fixedRate": "5s", "concurrencyPolicy": "Replace", "payload": {"seconds": 6}},
        {"runAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 10 + number % 7))},
        {"fixedRate": "1s", "concurrencyPolicy": "Allow", "suspend": number % 2 == 0},
    )
    return job(f"mixed-{number}", **kinds[number % len(kinds)])


def verified(replicas: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SCHEDULEDJOBS_DATABASE_URL": replicas.url}
    command = [sys.executable, "-m", "scheduledjobs", "verify", "--since", "1h"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.timeout(SECONDS + 180)
def test_verify_of_a_live_cluster_finds_what_is_damaged_by_hand(
    replicas: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(replicas.cluster.kubeconfig))
    for name in ("one", "two"):
        replicas.start(name, slots="100")
    leader = replicas.wait_leader()
    asyncio.run(create(replicas.namespace, [mixed(number) for number in range(200)]))
    started, number, killed = time.monotonic(), 0, False
    while time.monotonic() - started < SECONDS:
        number += 1
        patch = json.dumps({"spec": CHURN[number % len(CHURN)]})
        name = f"mixed-{2 + 7 * (number % 28)}"
        replicas.cluster.kubectl("patch", "sjob", name, "-n", replicas.namespace, "--type=merge", "-p", patch)
        if not killed and time.monotonic() - started > SECONDS / 2:
            killed = True
            replicas.signal(leader, signal.SIGKILL)
    replicas.wait_leader(other_than=leader)
    found = until(lambda: settled(replicas), 30, 1.0)
    with capsys.disabled():
        print(f"\n{SECONDS:g} s, 200 jobs: {found.stdout}")
    assert found.returncode == 0, found.stdout
    assert found.stdout.startswith("0 lost, 0 doubled, ")
    with psycopg.connect(replicas.url, autocommit=True) as conn:
        conn.execute(DAMAGE.encode())
    damaged = verified(replicas)
    assert damaged.returncode == 1
    assert "LOST     " in damaged.stdout
    assert "DOUBLED  " in damaged.stdout
    assert "1 lost, 1 doubled" in damaged.stdout, damaged.stdout


def settled(replicas: Any) -> subprocess.CompletedProcess[str] | None:
    """What verify says once the new leader has decided what was due, or as soon as it finds something wrong."""
    done = verified(replicas)
    found = re.search(r"(\d+) not decided yet", done.stdout)
    return done if done.returncode or int(found.group(1) if found else 0) <= JITTERED else None


JITTERED = 40
"""About as many moments are waited for at any time, since their jitter is not over."""

DAMAGE = """
DELETE FROM job_execution_log WHERE id = (
    SELECT id FROM job_execution_log WHERE job_name = 'mixed-0' AND state = 'SUCCEEDED' ORDER BY fire_time LIMIT 1
);
INSERT INTO job_execution_log (fire_time, namespace, job_name, state, trigger, handler, job_id, version)
SELECT last_fire_time, namespace, job_name, 'SUCCEEDED', trigger, handler, job_id, version
FROM job_execution_log WHERE moment_count > 1 AND reason = 'Suspended' LIMIT 1
"""
