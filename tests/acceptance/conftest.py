"""Replicas as processes, against the session's API server and a database of the test's own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import psycopg
import pytest
from dev.controlplane import ControlPlane
from dev.postgres import Postgres
from psycopg.rows import dict_row

from scheduledjobs.kube.client import open_client
from scheduledjobs.kube.listing import collection_path

if TYPE_CHECKING:
    from tests.acceptance import rest


@dataclass
class Replicas:
    """Operator processes of one test: they share a Lease and a database that no other test uses."""

    cluster: ControlPlane
    namespace: str
    url: str
    folder: Path
    lease: str = field(default_factory=lambda: f"lease-{uuid4().hex[:8]}")
    kubeconfig: str = ""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, **settings: str) -> None:
        """Start a replica; its log is in the test's folder. REST and the dashboard only with web="true"."""
        environment = {
            **os.environ,
            "KUBECONFIG": self.kubeconfig or str(self.cluster.kubeconfig),
            "SCHEDULEDJOBS_DATABASE_URL": self.url,
            "SCHEDULEDJOBS_METRICS_HOST": "127.0.0.1",
            "SCHEDULEDJOBS_METRICS_PORT": "0",
            "SCHEDULEDJOBS_WEB": "false",
            "SCHEDULEDJOBS_HOST": "127.0.0.1",
            "SCHEDULEDJOBS_PORT": "0",
            "SCHEDULEDJOBS_HOSTNAME": name,
            "SCHEDULEDJOBS_WATCH_NAMESPACES": self.namespace,
            "SCHEDULEDJOBS_LEASE_NAMESPACE": self.namespace,
            "SCHEDULEDJOBS_LEASE_NAME": self.lease,
            **{f"SCHEDULEDJOBS_{key.upper()}": value for key, value in settings.items()},
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", "scheduledjobs", "run"]
            self.processes[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a replica."""
        self.processes[name].send_signal(number)

    def leader(self) -> str | None:
        """Return the name of the replica that holds the term, or None."""
        row = self.row("SELECT holder FROM leadership")
        return str(row["holder"]).rsplit("_", 1)[0] or None

    def wait_leader(self, *, other_than: str | None = None, seconds: float = 20) -> str:
        """Return the leader once there is one."""
        return until(lambda: (leader := self.leader()) not in (None, other_than) and leader, seconds)

    def apply(self, name: str, **spec: Any) -> None:
        """Apply a ScheduledJob."""
        body = {"apiVersion": "scheduledjobs.dev/v1", "kind": "ScheduledJob", "metadata": {"name": name}, "spec": spec}
        self.cluster.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=json.dumps(body))

    def get(self, name: str) -> dict[str, Any]:
        """Return a ScheduledJob as the API server has it."""
        found: dict[str, Any] = json.loads(
            self.cluster.kubectl("get", "scheduledjob", name, "-n", self.namespace, "-o", "json").stdout
        )
        return found

    def rows(self, query: str, *params: Any) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        with psycopg.connect(self.url, autocommit=True, row_factory=dict_row) as conn:
            return conn.execute(query.encode(), params or None).fetchall()

    def row(self, query: str, *params: Any) -> dict[str, Any]:
        """Return the one row of a query."""
        return self.rows(query, *params)[0]

    def stop(self) -> None:
        """Stop every replica by its own id."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def logs(self) -> str:
        """Return what the replicas logged."""
        return "\n".join(f"== {log.name}\n{log.read_text()[-4000:]}" for log in sorted(self.folder.glob("*.log")))


T = TypeVar("T")


def until(look: Callable[[], T], seconds: float = 20, every: float = 0.05) -> T:
    """Return what `look` returns once it is true; `AssertionError` if that takes too long."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {seconds:g} s")
        time.sleep(every)
    return found


async def create(namespace: str, jobs: list[dict[str, Any]]) -> None:
    """Create many jobs in the cluster of KUBECONFIG."""
    turns = asyncio.Semaphore(16)
    async with open_client() as kube:

        async def one(job: dict[str, Any]) -> None:
            async with turns:
                await kube.request(
                    "POST", collection_path(namespace), body=job, headers={"Content-Type": "application/json"}
                )

        await asyncio.gather(*(one(job) for job in jobs))


def job(name: str, **spec: Any) -> dict[str, Any]:
    """Return a ScheduledJob as it is applied."""
    body = {"apiVersion": "scheduledjobs.dev/v1", "kind": "ScheduledJob", "metadata": {"name": name}}
    return {**body, "spec": {"handler": "log", **spec}}


@pytest.fixture
def replicas(cluster: ControlPlane, namespace: str, database: str, tmp_path: Path) -> Iterator[Replicas]:
    """Replicas to start; stopped at the end, their logs shown if the test failed."""
    found = Replicas(cluster, namespace, database, tmp_path)
    try:
        yield found
    finally:
        found.stop()
        print(found.logs())


@pytest.fixture(scope="module")
def site(
    cluster: ControlPlane, postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[rest.Site]:
    """A replica that serves REST, for all tests of a module."""
    from tests.acceptance.rest import open_site  # it needs this module

    with open_site(cluster, postgres_server, tmp_path_factory.mktemp("site")) as found:
        yield found
