"""ScheduledJobs itself, through all of it: an API server and etcd are started for each run, and stopped after it."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from dev.build import program
from dev.controlplane import ControlPlane

import scheduledjobs
from benchmarks.bench import Bench, iso
from benchmarks.peers.observe import Observer, lateness, percentile, rate, read_record
from benchmarks.peers.recording import FILE
from benchmarks.peers.subject import Figures, RunFailed, Shape, Subject
from benchmarks.peers.workers import CAP_SECONDS, LOOK_SECONDS, WARM_UP_SECONDS
from benchmarks.postgres import Ground
from benchmarks.replica import Replica

NAME = "ScheduledJobs"
JOBS = 100
"""Whose executions wait in U1."""

NEVER = datetime(2099, 1, 1, tzinfo=UTC)
CREATED_PER_SECOND = 200
"""How many resources the API server takes a second at least."""

CLOSE_SECONDS = 0.25
"""What aiohttp asks for after a session of TLS: its connections close later, and the loop must still be there."""

SLOTS = {"best": 1000, "default": 32}
SETTINGS: dict[str, dict[str, str]] = {
    "best": {"LOG_LEVEL": "warning"},
    "default": {"WEB": "true", "HOST": "127.0.0.1", "PORT": "0"},
}
UNFINISHED = "SELECT count(*) FROM job_execution_log WHERE state IN ('PENDING', 'RUNNING')"
NOT_ENDED = "SELECT %(count)s - count(*) FROM job_execution_log WHERE finished_at IS NOT NULL"
"""Of those that are due at one moment: what was not fired yet is not in the log."""

ENDED = "SELECT count(*) AS n FROM job_execution_log WHERE state = 'SUCCEEDED'"

# As store/queries/insert_executions.sql writes what a fire has decided: a row a moment, visible at once.
INSERT = """
INSERT INTO job_execution_log (
    fire_time, namespace, job_name, state, trigger, handler, job_id, version, visible_at, start_before
)
SELECT m.at, j.namespace, j.name, 'PENDING', 'SCHEDULE', j.handler, j.id, j.version, m.at, m.at + interval '1 day'
FROM generate_series(0, %(count)s - 1) AS n
CROSS JOIN LATERAL (
    SELECT date_trunc('milliseconds', now()) - make_interval(secs => (%(count)s - n) * 0.001) AS at
) AS m
JOIN (
    SELECT *, row_number() OVER (ORDER BY id) - 1 AS number, count(*) OVER () AS jobs FROM job_definition
) AS j ON j.number = n %% j.jobs
"""
LATENESS = """
SELECT extract(epoch FROM started_at - fire_time)::float8 * 1000 AS late
FROM job_execution_log
WHERE started_at IS NOT NULL AND fire_time >= %(start)s AND fire_time < %(end)s
"""


def subject() -> Subject:
    """Return what the harness measures of ScheduledJobs."""
    return Subject(
        name=NAME,
        language=f"Python {platform.python_version()}",
        release=scheduledjobs.__version__,
        keeps_history=True,
        settings={"best": "1000 slots, no web", "default": "32 slots, REST and the dashboard served"},
        measure=_measure,
        prepare=lambda: (program("etcd"), program("kube-apiserver")),
        units=frozenset({"U1", "U3", "U4"}),
        is_ours=True,
    )


def _measure(shape: Shape, mode: str, ground: Ground) -> Figures:
    measure = {"U1": drain, "U3": _burst, "U4": _steady}[shape.unit]
    with _cluster(ground) as bench:
        return measure(bench, shape, mode, ground)


class OurBench(Bench):
    """A cluster beside a database that is given."""

    def __init__(self, plane: ControlPlane, ground: Ground) -> None:
        url = ground.fresh()
        super().__init__(plane, ground.postgres, ground.run_folder())
        self._url = url

    async def create(self, count: int, what: str, specs: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Create jobs, and wait until their connections are closed."""
        await super().create(count, what, specs)
        await asyncio.sleep(CLOSE_SECONDS)

    async def clear(self) -> None:
        """Delete all jobs, and wait until the connection is closed."""
        await super().clear()
        await asyncio.sleep(CLOSE_SECONDS)

    def make(self, count: int, handler: str, spec: dict[str, Any], what: str) -> None:
        """Create `count` jobs of one spec."""
        specs = ((f"job-{number}", {"handler": handler, **spec}) for number in range(count))
        asyncio.run(self.create(count, what, specs))

    def insert_waiting(self, count: int) -> None:
        """Insert rows as a fire writes them, whose time has come."""
        with psycopg.connect(self.url) as connection:
            for parent in ("job_execution_output", "job_execution_attempt", "job_execution_log"):
                connection.execute("SELECT make_day(%s, (now() AT TIME ZONE 'UTC')::date - 1)", [parent])
            connection.execute(INSERT, {"count": count})

    @contextmanager
    def recording(self, mode: str) -> Iterator[Replica]:
        """Have a replica whose handler `record` keeps when it was started."""
        os.environ[FILE] = str(self.record)
        handlers = "benchmarks.handlers,benchmarks.peers.recording"
        with self.replicas(1, SLOTS[mode], HANDLERS=handlers, **SETTINGS[mode]) as replicas:
            yield replicas[0]

    @property
    def record(self) -> Path:
        """Where the replica writes what its handler kept."""
        return self.folder / "record.csv"

    def judged(self, replica: Replica, start: datetime, seconds: float, count: int) -> Figures:
        """Return how late handlers were started whose moment is in a stretch of time; RunFailed if none was.

        By what the handler kept, as peers are seen; beside it the 99th percentile by `started_at` in the log.
        """
        replica.process.send_signal(signal.SIGUSR1)
        self.wait(self.record.exists, "what the handler kept was not written", 20)
        end = start + timedelta(seconds=seconds)
        late = read_record(self.record, start.timestamp(), end.timestamp())
        logged = sorted(row["late"] for row in self.rows(LATENESS, start=start, end=end))
        if not late or not logged:
            raise RunFailed("no job ran")
        missing = count - len(late)
        found = lateness(late, missing=missing)
        return {**found, "left": float(missing), "p99 of the log": percentile(logged, 0.99)}


@contextmanager
def _cluster(ground: Ground) -> Iterator[OurBench]:
    folder = ground.folder / "controlplane"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    plane = ControlPlane(folder)
    try:
        plane.start()
        with closing(OurBench(plane, ground)) as bench:
            yield bench
    finally:
        plane.stop()


def drain(bench: OurBench, shape: Shape, mode: str, ground: Ground) -> Figures:
    """Measure how many executions a second are run of those that wait."""
    bench.make(JOBS, "noop", {"runAt": iso(NEVER)}, "that are not due")
    with bench.replicas(1):
        bench.wait_mirrored(JOBS)
    bench.insert_waiting(shape.count)
    ground.settle(bench.url)
    observer, replicas = Observer(bench.url, UNFINISHED, shape.count), list[Replica]()
    try:
        while len(replicas) < shape.processes:
            replicas.append(bench.replica(f"replica-{len(replicas) + 1}", SLOTS[mode], None, **SETTINGS[mode]))
        polls = observer.watch(CAP_SECONDS["U1"], lambda: all(each.process.poll() is None for each in replicas))
    finally:
        for each in replicas:
            each.ask_to_stop()
        for each in replicas:
            each.wait_end()
    ended, found = bench.one(ENDED)["n"], rate(polls, shape.count)
    if not found or ended < shape.count - polls[-1].left:
        raise RunFailed(f"{ended:,} of {shape.count:,} had succeeded, {polls[-1].left:,} waited")
    return {"rate": found, "left": float(polls[-1].left)}


def _burst(bench: OurBench, shape: Shape, mode: str, _: Ground) -> Figures:
    with bench.recording(mode) as replica:
        due = bench.now().replace(microsecond=0) + timedelta(seconds=5 + shape.count // CREATED_PER_SECOND)
        bench.make(shape.count, "record", {"runAt": iso(due)}, "that are due at one moment")
        bench.wait_mirrored(shape.count)
        if bench.now() > due:
            raise RunFailed("its jobs were still being created when they were due")
        time.sleep(max(0.0, (due - bench.now()).total_seconds()) + LOOK_SECONDS)
        observer = Observer(bench.url, NOT_ENDED, shape.count)
        observer.watch(CAP_SECONDS["U3"], lambda: replica.process.poll() is None)
        return bench.judged(replica, due, 1, shape.count)


def _steady(bench: OurBench, shape: Shape, mode: str, _: Ground) -> Figures:
    jobs = shape.count // shape.seconds
    with bench.recording(mode) as replica:
        asyncio.run(bench.make_jobs(jobs, "record"))
        bench.wait_mirrored(jobs)
        start = bench.measure(WARM_UP_SECONDS, shape.seconds)
        return bench.judged(replica, start, shape.seconds, shape.count)
