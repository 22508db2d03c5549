"""One cluster, one database and the replicas of a benchmark: what `make bench` and its siblings measure on."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
from dev.controlplane import ControlPlane
from dev.postgres import Postgres
from dev.processes import say

NAMESPACE = "default"
COLLECTION = f"/apis/scheduledjobs.dev/v1/namespaces/{NAMESPACE}/scheduledjobs"
CONCURRENT = 16
LATENESS = """
SELECT count(*) AS n, max(lateness_ms) AS max,
    percentile_disc(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY lateness_ms) AS p,
    count(*) FILTER (WHERE started_at < fire_time) AS early
FROM job_execution_log
WHERE state = 'SUCCEEDED' AND fire_time >= %(start)s AND fire_time < %(start)s + make_interval(secs => %(seconds)s)
"""


class Bench:
    """One cluster, one database, one replica at a time."""

    def __init__(self, plane: ControlPlane, postgres: Postgres, folder: Path) -> None:
        self._plane = plane
        self._postgres = postgres
        self._folder = folder
        self._number = 0
        self._url = ""

    def fresh_database(self) -> None:
        """Use a new database from now on; the one before is dropped, or its upkeep would be measured too."""
        self._number += 1
        with psycopg.connect(self._postgres.url, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE IF EXISTS bench_{self._number - 1} WITH (FORCE)".encode())
            conn.execute("CHECKPOINT")
            conn.execute(f"CREATE DATABASE bench_{self._number}".encode())
        self._url = self._postgres.url.rsplit("/", 1)[0] + f"/bench_{self._number}"

    def start(self, slots: int, profile: Path | None = None, **settings: str) -> subprocess.Popen[bytes]:
        """Start a replica, under the profiler if asked to; `settings` without their prefix."""
        environment = {
            **os.environ,
            "KUBECONFIG": str(self._plane.kubeconfig),
            "SCHEDULEDJOBS_DATABASE_URL": self._url,
            "SCHEDULEDJOBS_METRICS_HOST": "127.0.0.1",
            "SCHEDULEDJOBS_METRICS_PORT": "0",
            "SCHEDULEDJOBS_WEB": "false",
            "SCHEDULEDJOBS_SLOTS": str(slots),
            "SCHEDULEDJOBS_LEASE_NAME": f"bench-{self._number}",
            **{f"SCHEDULEDJOBS_{name}": value for name, value in settings.items()},
        }
        profiler = ["-m", "cProfile", "-o", str(profile)] if profile else []
        with (self._folder / "replica.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *profiler, "-m", "scheduledjobs", "run"], env=environment, stdout=log, stderr=log
            )

    async def make_jobs(self, count: int) -> None:
        """Create `count` jobs that are due every second, evenly spread over it, and do nothing."""
        say(f"creating {count} jobs of fixedRate 1s")
        began = datetime.now(UTC)
        headers = {"Authorization": f"Bearer {self._plane.token}"}
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connector = aiohttp.TCPConnector(ssl=context, limit=CONCURRENT)
        async with aiohttp.ClientSession(self._plane.server, headers=headers, connector=connector) as session:
            await session.delete(COLLECTION)
            gate = asyncio.Semaphore(CONCURRENT)
            starts = ((number, began + timedelta(seconds=number / count)) for number in range(count))
            await asyncio.gather(*(self._make(session, gate, number, start) for number, start in starts))

    async def _make(
        self, session: aiohttp.ClientSession, gate: asyncio.Semaphore, number: int, start: datetime
    ) -> None:
        body = {
            "apiVersion": "scheduledjobs.dev/v1",
            "kind": "ScheduledJob",
            "metadata": {"name": f"job-{number}"},
            "spec": {
                "fixedRate": "1s",
                "startTime": start.isoformat(timespec="milliseconds"),
                "handler": "log",
                "concurrencyPolicy": "Allow",
            },
        }
        async with gate, session.post(COLLECTION, json=body) as answer:
            answer.raise_for_status()

    def wait_mirrored(self, count: int) -> None:
        """Wait until the operator knows every job."""
        while self.one("SELECT count(*) AS n FROM job_definition WHERE state = 'ACTIVE'")["n"] < count:
            time.sleep(0.5)

    def one(self, query: str, **params: Any) -> dict[str, Any]:
        """Return the first row of a query; nothing while there is no schema yet."""
        with psycopg.connect(self._url, autocommit=True, row_factory=psycopg.rows.dict_row) as conn:
            try:
                return conn.execute(query.encode(), params).fetchone() or {}
            except psycopg.errors.UndefinedTable:
                return {"n": -1}

    def measure(self, warm_up: float, seconds: float) -> Any:
        """Let it run; return the database's time at which the measured stretch began."""
        time.sleep(warm_up)
        start = self.one("SELECT clock_timestamp() AS now")["now"]
        time.sleep(seconds + 2)
        return start


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a replica."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
