"""`python -m benchmarks.floor`: what PostgreSQL does here with rows of the log's shape for who asks least.

The table is the real job_execution_log with its days and indexes, made by the project's own migrations. A plain loop
without asyncio or handlers fires, claims and completes 500 rows a transaction, each transaction committed with
synchronous_commit on; statements are prepared, and sent in pipelines, so that the server need not wait for the loop
where one does not need the answer to the other. It is run with statements that write as few columns as will do, and
with the project's own, by one process and by two. The floor of a figure is the best of these.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from shutil import rmtree
from typing import Any

import psycopg
from dev.postgres import new_folder
from dev.processes import exit_with, say

from benchmarks.figures import shown, table
from benchmarks.floor_sql import WAYS, Claim, Statements
from benchmarks.postgres import pinned_postgres
from scheduledjobs.store.migrate import migrate
from scheduledjobs.store.sessions import POINT_READS, options

BATCH = 500
COUNT = 50_000
DATABASE = "floor"
WAIT_SECONDS = 60

Session = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[tuple[Any, ...]]
MICROSECONDS = 1e6


@dataclass(frozen=True, slots=True)
class Floor:
    """Rows or executions per second of each phase, and what one execution through all three costs the loop."""

    fire: float = 0.0
    claim: float = 0.0
    complete: float = 0.0
    drain: float = 0.0
    together: float = 0.0
    on_insert: float = 0.0
    python_us: float = 0.0

    @property
    def whole(self) -> float:
        """Executions per second through all three: the better of a claim after the fire and a claim on insert."""
        return max(self.together, self.on_insert)


def _send(conn: Session, statement: bytes, params: dict[str, Any]) -> Cursor:
    """Send one transaction; its rows can be read from the cursor, which then waits for all that was sent."""
    conn.execute("BEGIN")
    cursor = conn.execute(statement, params, prepare=True)
    conn.execute("COMMIT")
    return cursor


class Loop:
    """One process's part of the rows. What is measured returns how many rows it has dealt with."""

    def __init__(self, conn: Session, statements: Statements, worker: int, count: int) -> None:
        self._conn = conn
        self._statements = statements
        self._worker = worker
        self._batches = max(1, count // BATCH)
        self._claimed: list[list[Claim]] = []

    def fire(self) -> int:
        """Insert all rows as claimed."""
        with self._conn.pipeline():
            sent = [self._fire(number, is_claimed=True) for number in range(self._batches)]
            self._claimed = [self._claims(cursor) for cursor in sent]
        return self._batches * BATCH

    def wait(self) -> int:
        """Insert all rows as waiting."""
        with self._conn.pipeline():
            for number in range(self._batches):
                self._fire(number, is_claimed=False)
        return self._batches * BATCH

    def claim(self) -> int:
        """Claim as many rows as were fired, whoever fired them; fewer, where another process has locked the last."""
        with self._conn.pipeline():
            sent = [self._claim() for _ in range(self._batches)]
            return sum(len(self._claims(cursor)) for cursor in sent)

    def complete(self) -> int:
        """Complete what was fired as claimed."""
        with self._conn.pipeline():
            return self._completed(self._claimed)

    def drain(self) -> int:
        """Claim rows that wait, and complete each batch while the next one is claimed."""
        with self._conn.pipeline():
            return self._completed(self._held(self._claim() for _ in range(self._batches)))

    def together(self) -> int:
        """Fire and claim, and complete each batch while the next one is fired and claimed."""

        def fire_and_claim() -> Iterator[Cursor]:
            for number in range(self._batches):
                self._fire(number, is_claimed=False)
                yield self._claim()

        with self._conn.pipeline():
            return self._completed(self._held(fire_and_claim()))

    def on_insert(self) -> int:
        """Fire as claimed, and complete each batch while the next one is fired."""
        with self._conn.pipeline():
            return self._completed(self._held(self._fire(n, is_claimed=True) for n in range(self._batches)))

    def _held(self, cursors: Iterator[Cursor]) -> Iterator[list[Claim]]:
        """Yield what each cursor has, once the next batch is on its way and the completion of this one can be too."""
        before: Cursor | None = None
        for cursor in cursors:
            if before is not None:
                yield self._claims(before)
            before = cursor
        if before is not None:
            yield self._claims(before)

    def _completed(self, batches: Iterable[Sequence[Claim]]) -> int:
        done = 0
        for claims in batches:
            if claims:
                _send(self._conn, self._statements.complete, self._statements.complete_params(claims))
            done += len(claims)
        return done

    def _fire(self, number: int, *, is_claimed: bool) -> Cursor:
        params = self._statements.fire_params(self._worker, number, BATCH, is_claimed=is_claimed)
        return _send(self._conn, self._statements.fire, params)

    def _claim(self) -> Cursor:
        return _send(self._conn, self._statements.claim, self._statements.claim_params(BATCH))

    def _claims(self, cursor: Cursor) -> list[Claim]:
        return [self._statements.read_claim(row) for row in cursor.fetchall()]


@dataclass(frozen=True, slots=True)
class Took:
    """What one process did in a phase: rows, from when to when on this machine's monotonic clock, CPU seconds."""

    rows: int
    began: float
    ended: float
    cpu: float


PHASES = ("fire", "complete", "wait", "claim", "wait", "drain", "together", "on_insert")
KEEPS = frozenset({"complete", "claim", "drain"})
"""Phases that go on with the rows of the phase before; the others begin with an empty log."""


def _work(url: str, way: str, worker: int, count: int, barrier: Barrier, told: Connection) -> None:
    """Do all phases, each together with the other processes, and tell what each came to, or what went wrong."""
    try:
        told.send(_phases(url, way, worker, count, barrier))
    except Exception as error:  # noqa: BLE001 it is raised where it is told
        barrier.abort()
        told.send(f"{type(error).__name__}: {error}")


def _phases(url: str, way: str, worker: int, count: int, barrier: Barrier) -> list[Took]:
    took: list[Took] = []
    with psycopg.connect(url, autocommit=True, options=options(**POINT_READS)) as conn:
        loop = Loop(conn, WAYS[way], worker, count)
        for name in PHASES:
            barrier.wait(WAIT_SECONDS)
            if worker == 0:
                _prepare(conn, keeps=name in KEEPS)
            barrier.wait(WAIT_SECONDS)
            began, cpu = time.perf_counter(), time.process_time()
            rows = getattr(loop, name)()
            took.append(Took(rows, began, time.perf_counter(), time.process_time() - cpu))
    return took


def _prepare(conn: Session, *, keeps: bool) -> None:
    if not keeps:
        conn.execute("TRUNCATE job_execution_log")
    conn.execute("CHECKPOINT")


def _fresh(server_url: str) -> str:
    url = server_url.rsplit("/", 1)[0] + f"/{DATABASE}"
    with psycopg.connect(server_url, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)".encode())
        conn.execute(f"CREATE DATABASE {DATABASE}".encode())
    asyncio.run(migrate(url))
    return url


def run(server_url: str, way: str, processes: int, count: int) -> Floor:
    """Return what `processes` loops come to with `count` executions between them, in a database of their own."""
    url, part = _fresh(server_url), max(BATCH, count // processes)
    phases = dict(zip(PHASES, zip(*_each(url, way, processes, part), strict=True), strict=True))
    _check(url, sum(took.rows for took in phases[PHASES[-1]]))
    cpu = sum(took.cpu for took in phases["together"]) / sum(took.rows for took in phases["together"])
    rates = {name: _rate(took) for name, took in phases.items() if name != "wait"}
    return Floor(**rates, python_us=cpu * MICROSECONDS)


def _each(url: str, way: str, processes: int, count: int) -> list[list[Took]]:
    """Let each process do its part and return what they tell; `SystemExit` with what went wrong in one."""
    context = multiprocessing.get_context("spawn")  # a fork would have this process's connections
    barrier, workers, found = context.Barrier(processes), [], []
    try:
        for number in range(processes):
            ours, theirs = context.Pipe(duplex=False)
            worker = context.Process(target=_work, args=(url, way, number, count, barrier, theirs), daemon=True)
            workers.append(worker)  # daemons: an interrupted run leaves none behind
            worker.start()
            theirs.close()
            found.append(ours)
        told = [each.recv() for each in found]
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.join(1)
                worker.kill()
    if wrong := [each for each in told if isinstance(each, str)]:
        raise SystemExit(f"scheduledjobs: the floor could not be measured: {'; '.join(wrong)}")
    return told


def _rate(took: Sequence[Took]) -> float:
    seconds = max(each.ended for each in took) - min(each.began for each in took)
    return sum(each.rows for each in took) / seconds


def _check(url: str, rows: int) -> None:
    """See that the last phase has written what it says; `AssertionError` if not: it would be a floor of nothing."""
    with psycopg.connect(url) as conn:
        found = conn.execute("SELECT count(*) FROM job_execution_log WHERE state = 'SUCCEEDED'").fetchone()
    assert found == (rows,), f"{found} rows are completed, not {rows}"


def best(floors: Sequence[Floor]) -> Floor:
    """Return the most of each rate, and the least of what an execution costs."""
    rates = {f.name: max(getattr(floor, f.name) for floor in floors) for f in fields(Floor)}
    return Floor(**{**rates, "python_us": min(floor.python_us for floor in floors)})


HEAD = (
    "statements",
    "processes",
    "fire",
    "claim",
    "complete",
    "claim+complete",
    "all three",
    "claim on insert",
    "Python",
)


def measure(server_url: str, count: int = COUNT) -> Floor:
    """Measure and print every way of it, a row each; return the best of each phase."""
    say(f"measuring the floor: bare SQL, {count:,} executions a phase, about {10 + count / 500:.0f} s")
    ways = [(name, processes) for name in WAYS for processes in (1, 2)]
    floors = [run(server_url, name, processes, count) for name, processes in ways]
    rows = [(name, str(n), *_cells(floor)) for (name, n), floor in zip(ways, floors, strict=True)]
    found = best(floors)
    print(f"the floor: rows per second of bare SQL in batches of {BATCH}, {count:,} a phase, no asyncio")
    print(table(HEAD, [*rows, ("the floor", "best", *_cells(found))]), flush=True)
    print()
    return found


def _cells(floor: Floor) -> list[str]:
    *rates, cost = (getattr(floor, field.name) for field in fields(floor))
    return [*(shown(rate) for rate in rates), f"{cost:.1f} us"]


def main() -> None:
    """Measure the floor alone."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="executions a phase (default: %(default)s)")
    words = parser.parse_args()
    folder = new_folder("scheduledjobs-floor-")
    postgres = pinned_postgres(folder / "postgres")
    try:
        postgres.start()
        measure(postgres.url, words.count)
    finally:
        postgres.stop()
        rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    exit_with(main)
