"""The sql handler on real replicas that are killed at random points: each effect is there exactly once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import psycopg
import pytest
from tests.acceptance.conftest import create, job, until

JOBS, MOMENTS = 50, 10
SEED = int(os.environ.get("SCHEDULEDJOBS_TEST_SEED", "0")) or Random().randrange(1, 2**31)
STATEMENT = "INSERT INTO effect (key) SELECT %(idempotency_key)s FROM pg_sleep(0.2)"
OPEN = "SELECT count(*) AS n FROM job_execution_log WHERE state IN ('PENDING', 'RUNNING')"


@pytest.mark.timeout(240)
def test_five_hundred_effects_are_there_once_whatever_is_killed(
    replicas: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(replicas.cluster.kubeconfig))
    random = Random(SEED)
    with psycopg.connect(replicas.url, autocommit=True) as conn:
        conn.execute("CREATE TABLE effect (key text, session integer DEFAULT pg_backend_pid())")
    connections = json.dumps({"own": {"namespaces": [replicas.namespace]}})
    living = ["one", "two", "three"]
    for name in living:
        replicas.start(name, sql_connections=connections)
    replicas.wait_leader()
    begin = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=5)
    window = {"startTime": begin.isoformat(), "endTime": (begin + timedelta(seconds=MOMENTS)).isoformat()}
    retry = {"limit": 100, "backoff": "100ms", "maxBackoff": "100ms"}
    payload = {"connection": "own", "statement": STATEMENT}
    spec = {"handler": "sql", "concurrencyPolicy": "Allow", "retry": retry, "payload": payload, **window}
    asyncio.run(create(replicas.namespace, [job(f"sql-{n}", fixedRate="1s", **spec) for n in range(JOBS)]))
    time.sleep(max(0.0, (begin - datetime.now(UTC)).total_seconds()))
    kills = 0
    while kills < 6 or replicas.row(OPEN)["n"]:
        time.sleep(random.uniform(0.2, 3.0))
        if kills < 6:
            kills += 1
            victim = living.pop(random.randrange(3))
            replicas.signal(victim, signal.SIGKILL)
            living.append(f"{victim.split('-')[0]}-{kills}")
            replicas.start(living[-1], sql_connections=connections)
    until(lambda: replicas.row("SELECT count(*) AS n FROM job_definition WHERE state = 'COMPLETED'")["n"] == JOBS, 60)
    until(lambda: replicas.row(OPEN)["n"] == 0, 60)
    effects = replicas.row("SELECT count(*) AS n, count(DISTINCT key) AS keys FROM effect")
    states = replicas.rows("SELECT state, count(*) AS n FROM job_execution_log GROUP BY state")
    lost = replicas.row("SELECT count(*) AS n FROM job_execution_attempt WHERE state = 'LOST'")["n"]
    with capsys.disabled():
        print(f"\n{kills} replicas killed (seed {SEED}), {lost} attempts lost: {effects['n']} effects")
    assert [(row["state"], row["n"]) for row in states] == [("SUCCEEDED", JOBS * MOMENTS)]
    assert (effects["n"], effects["keys"]) == (JOBS * MOMENTS, JOBS * MOMENTS)
    assert lost > 0
