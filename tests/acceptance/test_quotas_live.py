"""A flood of one tenant, on real replicas that hold quotas."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles

import pytest
from dev.controlplane import ControlPlane
from tests.acceptance.conftest import Replicas, create, job, until

FLOOD, ALLOWED, NEIGHBOURS, SECONDS = 400, 5, 10, 12


@pytest.fixture
def flooded(cluster: ControlPlane, namespace: str) -> Iterator[str]:
    """A second namespace, whose tenant floods."""
    name = f"{namespace}-flood"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "scheduledjobs", "--all", "-n", name, "--wait=false")


LATENESS = """
SELECT lateness_ms FROM job_execution_log
WHERE namespace = %s AND state <> 'SKIPPED' AND lateness_ms IS NOT NULL AND fire_time BETWEEN %s AND %s
"""
DUE = """
SELECT count(*) AS n FROM job_execution_log
WHERE namespace = %s AND fire_time BETWEEN %s AND %s AND state IN ('RUNNING', 'SUCCEEDED')
"""
RAN = "SELECT count(DISTINCT job_id) AS n FROM job_execution_log WHERE namespace = %s AND attempt > 0"
IS_OVER = "SELECT count(*) AS n FROM job_definition WHERE namespace = %s AND reason = 'QuotaExceeded'"


@pytest.mark.timeout(240)
def test_a_flood_of_one_namespace_leaves_the_lateness_of_another_alone(
    replicas: Replicas, flooded: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(replicas.cluster.kubeconfig))
    neighbour = replicas.namespace
    quotas = {flooded: {"jobs": ALLOWED, "running": 2}}
    settings = {"watch_namespaces": f"{neighbour},{flooded}", "quotas": json.dumps(quotas)}
    for name in ("one", "two"):
        replicas.start(name, **settings)
    replicas.wait_leader(seconds=60)
    spec = {"fixedRate": "1s", "concurrencyPolicy": "Allow"}  # a slow machine makes moments late, and skips none
    asyncio.run(create(neighbour, [job(f"job-{n}", **spec) for n in range(NEIGHBOURS)]))
    until(lambda: replicas.row(RAN, neighbour)["n"] == NEIGHBOURS, 60)
    calm = _watch(replicas, neighbour, datetime.now(UTC))
    begin = datetime.now(UTC)
    asyncio.run(create(flooded, [job(f"job-{n}", fixedRate="1s") for n in range(FLOOD)]))
    flood = _watch(replicas, neighbour, begin)
    until(lambda: replicas.row(IS_OVER, flooded)["n"] == FLOOD - ALLOWED, 60)
    with capsys.disabled():
        told = [f"p50 {median(found):.0f} ms, p95 {quantiles(found, n=20)[-1]:.0f} ms" for found in (calm, flood)]
        print(f"\nlateness of {NEIGHBOURS} jobs: {told[0]}; beside {FLOOD} jobs of another namespace: {told[1]}")
    assert min(calm + flood) >= 0
    assert median(flood) < median(calm) + 500  # the API server that takes the flood in is on these two cores as well
    assert quantiles(flood, n=20)[-1] < quantiles(calm, n=20)[-1] + 2000
    ran = replicas.rows("SELECT DISTINCT job_id FROM job_execution_log WHERE namespace = %s AND attempt > 0", flooded)
    assert len(ran) == ALLOWED
    found = json.loads(replicas.cluster.kubectl("get", "scheduledjobs", "-n", flooded, "-o", "json").stdout)["items"]
    ages = sorted((item["metadata"]["creationTimestamp"], item["metadata"]["uid"]) for item in found)
    assert {str(row["job_id"]) for row in ran} == {uid for _, uid in ages[:ALLOWED]}
    until(lambda: _ready(replicas, flooded).get("QuotaExceeded", 0) == FLOOD - ALLOWED, 60, every=1)


def _watch(replicas: Replicas, namespace: str, begin: datetime) -> list[int]:
    """How late each moment of some seconds was, in milliseconds; every one of them must have run."""
    end = begin + timedelta(seconds=SECONDS)
    until(
        lambda: datetime.now(UTC) > end and replicas.row(DUE, namespace, begin, end)["n"] == NEIGHBOURS * SECONDS,
        SECONDS + 60,
    )
    return [row["lateness_ms"] for row in replicas.rows(LATENESS, namespace, begin, end)]


def _ready(replicas: Replicas, namespace: str) -> dict[str, int]:
    """How many jobs have which reason in their condition Ready."""
    found = json.loads(replicas.cluster.kubectl("get", "scheduledjobs", "-n", namespace, "-o", "json").stdout)["items"]
    counts: dict[str, int] = {}
    for item in found:
        for condition in item.get("status", {}).get("conditions", []):
            if condition["type"] == "Ready":
                counts[condition["reason"]] = counts.get(condition["reason"], 0) + 1
    return counts
