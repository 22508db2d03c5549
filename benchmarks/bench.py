"""One cluster, one database and the replicas of a benchmark: what `make bench` and its siblings measure on."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any

import aiohttp
import psycopg
from dev.controlplane import ControlPlane
from dev.postgres import Postgres, new_folder
from dev.processes import free_port, say, until

from benchmarks.postgres import pinned_postgres
from benchmarks.replica import Replica

NAMESPACE = "default"
COLLECTION = f"/apis/scheduledjobs.dev/v1/namespaces/{NAMESPACE}/scheduledjobs"
CONCURRENT = 16
SLOTS = 1000
SAY_SECONDS = 5.0
PATCHES = "scheduledjobs_status_patches_total"
ROOT = Path(__file__).parents[1]
LATENESS = """
SELECT count(*) AS n, max(lateness_ms) AS max,
    percentile_disc(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY lateness_ms) AS p,
    count(*) FILTER (WHERE started_at < fire_time) AS early
FROM job_execution_log
WHERE state = 'SUCCEEDED' AND fire_time >= %(start)s AND fire_time < %(start)s + make_interval(secs => %(seconds)s)
"""


class Bench:
    """One cluster, one database at a time, and as many replicas as are started."""

    def __init__(self, plane: ControlPlane, postgres: Postgres, folder: Path) -> None:
        self._plane = plane
        self._postgres = postgres
        self._folder = folder
        self._number = 0
        self._url = ""
        self._conn: psycopg.Connection[dict[str, Any]] | None = None

    @property
    def url(self) -> str:
        """Where the database in use is."""
        return self._url

    @property
    def server_url(self) -> str:
        """Where the server's database postgres is."""
        return self._postgres.url

    @property
    def plane(self) -> ControlPlane:
        """The cluster."""
        return self._plane

    @property
    def folder(self) -> Path:
        """Where files of this run are."""
        return self._folder

    def fresh_database(self) -> None:
        """Use a new database from now on; the one before is dropped, or its upkeep would be measured too."""
        self._number += 1
        self.close()
        with psycopg.connect(self._postgres.url, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE IF EXISTS bench_{self._number - 1} WITH (FORCE)".encode())
            conn.execute("CHECKPOINT")
            conn.execute(f"CREATE DATABASE bench_{self._number}".encode())
        self._url = self._postgres.url.rsplit("/", 1)[0] + f"/bench_{self._number}"

    def start(self, slots: int, profile: Path | None = None, **settings: str) -> subprocess.Popen[bytes]:
        """Start a replica, under the profiler if asked to; `settings` without their prefix."""
        environment = self._environment(SLOTS=str(slots), **settings)
        profiler = ["-m", "cProfile", "-o", str(profile)] if profile else []
        with (self._folder / "replica.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *profiler, "-m", "scheduledjobs", "run"], env=environment, stdout=log, stderr=log
            )

    def run_command(self, *words: str) -> str:
        """Run a command of the program against the database in use and return what it says, whatever its exit code."""
        command = [sys.executable, "-m", "scheduledjobs", *words]
        return subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False).stdout

    def _environment(self, **settings: str) -> dict[str, str]:
        own = {
            "DATABASE_URL": self._url,
            "METRICS_HOST": "127.0.0.1",
            "METRICS_PORT": "0",
            "WEB": "false",
            "HANDLERS": "benchmarks.handlers",
            "LEASE_NAME": f"bench-{self._number}",
            **settings,
        }
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "KUBECONFIG": str(self._plane.kubeconfig),
            **{f"SCHEDULEDJOBS_{name}": value for name, value in own.items()},
        }

    @contextmanager
    def replicas(self, count: int, slots: int = SLOTS, **settings: str) -> Iterator[list[Replica]]:
        """Start replicas named replica-1, replica-2, ... and wait until all are ready and one leads; stop them at the
        end, frozen ones too."""
        found: list[Replica] = []
        try:
            while len(found) < count:
                found.append(self.replica(f"replica-{len(found) + 1}", slots, None, **settings))
            self.wait_ready(found)
            yield found
        finally:
            for replica in found:
                replica.ask_to_stop()
            for replica in found:
                replica.wait_end()

    def replica(self, name: str, slots: int = SLOTS, profile: Path | None = None, **settings: str) -> Replica:
        """Start a replica whose probes and metrics can be asked; it is the caller's to stop."""
        port = free_port()
        return Replica(name, port, self.start(slots, profile, HOSTNAME=name, METRICS_PORT=str(port), **settings))

    def wait_ready(self, replicas: Sequence[Replica], seconds: float = 60) -> None:
        """Wait until these are ready and one of them leads; `SystemExit` with the end of their log if they are not."""

        def is_ready() -> bool:
            return all(each.is_ready() for each in replicas) and any(each.is_leader() for each in replicas)

        self.wait(is_ready, "the replicas were not ready", seconds)

    def wait(self, is_so: Callable[[], bool], otherwise: str, seconds: float, every: float = 0.1) -> None:
        """Wait until something is so; `SystemExit` that says `otherwise`, with the end of the replicas' log, if not."""
        if not until(is_so, seconds, every):
            tail = "\n".join((self._folder / "replica.log").read_text(errors="replace").splitlines()[-10:])
            raise SystemExit(f"scheduledjobs: {otherwise} within {seconds:g} s; the end of their log:\n{tail}")

    async def make_jobs(self, count: int, handler: str = "log", ahead_seconds: float = 0) -> datetime:
        """Create `count` jobs that are due every second, evenly spread over it, and do nothing; others are deleted.

        Return when the first is due, which is so many seconds from now.
        """
        began = datetime.now(UTC) + timedelta(seconds=ahead_seconds)
        await self.clear()
        starts = (began + timedelta(seconds=number / count) for number in range(count))
        specs = ((f"job-{n}", {"handler": handler, **every_second(start)}) for n, start in enumerate(starts))
        await self.create(count, "of fixedRate 1s", specs)
        return began

    async def clear(self) -> None:
        """Delete all jobs."""
        async with self._session() as session, session.delete(COLLECTION) as answer:
            answer.raise_for_status()

    async def delete(self, names: Iterable[str]) -> None:
        """Delete these jobs."""
        async with self._session() as session:
            for name in names:
                async with session.delete(f"{COLLECTION}/{name}") as answer:
                    answer.raise_for_status()

    async def create(self, count: int, what: str, specs: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Create `count` jobs by name and spec, a few at a time, and say how far it is where that takes a while."""
        say(f"creating {count:,} jobs {what}")
        left, made, said_at = iter(specs), 0, time.monotonic()

        async def work(session: aiohttp.ClientSession) -> None:
            nonlocal made, said_at
            for name, spec in left:
                async with session.post(COLLECTION, json=_resource(name, spec)) as answer:
                    answer.raise_for_status()
                made += 1
                if time.monotonic() > said_at + SAY_SECONDS:
                    said_at = time.monotonic()
                    say(f"{made:,} of {count:,} jobs are created")

        async with self._session() as session, asyncio.TaskGroup() as group:
            for _ in range(CONCURRENT):
                group.create_task(work(session))

    def _session(self) -> aiohttp.ClientSession:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connector = aiohttp.TCPConnector(ssl=context, limit=CONCURRENT)
        headers = {"Authorization": f"Bearer {self._plane.token}"}
        no_limit = aiohttp.ClientTimeout()  # many thousands may have to be deleted by one request
        return aiohttp.ClientSession(self._plane.server, headers=headers, connector=connector, timeout=no_limit)

    def wait_mirrored(self, count: int, seconds: float = 300) -> None:
        """Wait until the operator knows every job."""
        active = "SELECT count(*) AS n FROM job_definition WHERE state = 'ACTIVE'"
        self.wait(lambda: self.one(active)["n"] >= count, f"{count} jobs were not mirrored", seconds, 0.5)

    def one(self, query: str, **params: Any) -> dict[str, Any]:
        """Return the first row of a query, if it has any; nothing while there is no schema yet."""
        try:
            cursor = self._connection().execute(query.encode(), params)
        except psycopg.errors.UndefinedTable:
            return {"n": -1}
        return cursor.fetchone() or {} if cursor.description else {}

    def rows(self, query: str, **params: Any) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        return self._connection().execute(query.encode(), params).fetchall()

    def _connection(self) -> psycopg.Connection[dict[str, Any]]:
        """Return the one connection of this run to its database: what is polled must not cost a new one each time."""
        if self._conn is None:
            self._conn = psycopg.connect(self._url, autocommit=True, row_factory=psycopg.rows.dict_row)
        return self._conn

    def close(self) -> None:
        """Close that connection."""
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    def now(self) -> datetime:
        """Return the database's time."""
        found: datetime = self.one("SELECT clock_timestamp() AS now")["now"]
        return found

    def wait_told(self, leader: Replica, count: int, seconds: float) -> bool:
        """Wait until the leader has told so many jobs their first status, which it does at 50 a second; say whether it
        has in time. Before that it is not at rest."""
        return until(lambda: leader.metric(PATCHES, 'result="ok"') >= count, seconds, 0.5)

    def measure(self, warm_up: float, seconds: float) -> datetime:
        """Let it run; return the database's time at which the measured stretch began."""
        time.sleep(warm_up)
        start = self.now()
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


def every_second(start: datetime) -> dict[str, Any]:
    """Return the schedule of a job that is due each second from `start` on, whatever still runs of it."""
    return {"fixedRate": "1s", "startTime": iso(start), "concurrencyPolicy": "Allow"}


def iso(moment: datetime) -> str:
    """Return a moment as the fields of a resource have it, to the millisecond."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _resource(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    head = {"apiVersion": "scheduledjobs.dev/v1", "kind": "ScheduledJob", "metadata": {"name": name}}
    return {**head, "spec": dict(spec)}


@contextmanager
def servers() -> Iterator[Bench]:
    """Start PostgreSQL and a cluster for as long as the block lasts; what they wrote is deleted after it."""
    folder = new_folder("scheduledjobs-bench-")
    plane, postgres = ControlPlane(folder / "controlplane"), pinned_postgres(folder / "postgres")
    plane.folder.mkdir()
    try:
        say("starting PostgreSQL, etcd and kube-apiserver")
        postgres.start()
        plane.start()
        with closing(Bench(plane, postgres, folder)) as bench:
            yield bench
    finally:
        plane.stop()
        postgres.stop()
        rmtree(folder, ignore_errors=True)
