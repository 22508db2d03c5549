"""A peer's worker program, taken through a unit: schema, jobs, processes, and what the database and its record say."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from dev.processes import is_alive, start, stop, until

from benchmarks.peers.observe import Observer, lateness, rate, read_record
from benchmarks.peers.peer import MODES, Peer
from benchmarks.peers.subject import Figures, RunFailed, Shape, Subject
from benchmarks.postgres import Ground

CAP_SECONDS = {"U1": 120.0, "U3": 30.0, "U4": 30.0}
"""How long a run may take: in U3 and U4 after the last job was due."""

READY_SECONDS = 60.0
STOP_SECONDS = 40.0
AHEAD_SECONDS = 5.0
"""How far ahead jobs are due, besides the time that inserting them takes: a JVM has to start for that."""

WARM_UP_SECONDS = 5.0
"""How long jobs come at the pace of U4 before those that count, of everybody: what a process does first is slower."""

LOOK_SECONDS = 0.5
"""How long after a moment it is first looked at what has run: to look costs time that the jobs would have."""


def subject_of(peer: Peer) -> Subject:
    """Return what the harness measures of a peer."""
    return Subject(
        name=peer.name,
        language=peer.language,
        release=peer.release,
        keeps_history=peer.keeps_history,
        settings=dict(zip(MODES, (peer.best, peer.default), strict=True)),
        measure=partial(_measure, peer),
        prepare=peer.command,
        units=peer.units,
        most_processes=peer.most_processes,
        with_history=peer.with_history,
        remark=peer.remark,
    )


def _measure(peer: Peer, shape: Shape, mode: str, ground: Ground) -> Figures:
    run = Run(peer, shape, mode, ground, ground.fresh(), ground.run_folder())
    run.call("create")
    return run.drain() if shape.unit == "U1" else run.lateness()


@dataclass(frozen=True)
class Run:
    """One run of a peer on a fresh database."""

    peer: Peer
    shape: Shape
    mode: str
    ground: Ground
    url: str
    folder: Path

    def call(self, command: str, *words: str) -> None:
        """Run a command of the program to its end; RunFailed with the last line that it said if it fails."""
        done = subprocess.run(
            [*self.peer.command(), command, self.url, *words],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise RunFailed(f"`{command}` failed: {_end(done.stderr or done.stdout)}")

    def insert(self, count: int, due_ms: int, spread_ms: int) -> None:
        """Insert so many jobs."""
        words = ["--count", count, "--due", due_ms, "--spread", spread_ms, "--mode", self.mode]
        self.call("insert", *map(str, words))

    @contextmanager
    def workers(self, number: int, record: Path | None = None) -> Iterator[list[int]]:
        """Have so many workers, all ready; they are stopped at the end."""
        words = ["--mode", self.mode, *(["--record", str(record)] if record else [])]
        words += ["--history"] if self.peer.with_history else []
        pids: list[int] = []
        try:
            logs = [self.folder / f"worker-{each}.log" for each in range(number)]
            for log in logs:
                start([*self.peer.command(), "work", self.url, *words], log, pids.append)
            for pid, log in zip(pids, logs, strict=True):
                _wait_ready(pid, log)
            yield pids
        finally:
            for pid in pids:
                stop(pid, seconds=STOP_SECONDS)

    def drain(self) -> Figures:
        """Measure how many jobs a second are run of those that wait."""
        self.insert(self.shape.count, 0, 0)
        self.ground.settle(self.url)
        count, cap = self.shape.count, CAP_SECONDS["U1"]
        with self.workers(self.shape.processes) as pids:
            polls = Observer(self.url, self.peer.unfinished, count).watch(cap, lambda: all(map(is_alive, pids)))
            if not all(map(is_alive, pids)):
                raise RunFailed(f"a worker ended by itself, {polls[-1].left:,} jobs left")
        found = {"rate": rate(polls, count), "left": float(polls[-1].left)}
        if not found["rate"]:
            raise RunFailed(f"no job had ended after {cap:g} s")
        self._check_history(count - polls[-1].left)
        return found

    def _check_history(self, ended: int) -> None:
        if self.peer.keeps_history and self.peer.finished:
            with psycopg.connect(self.url, autocommit=True) as connection:
                row = connection.execute(self.peer.finished.encode()).fetchone()
            if row is None or row[0] < ended:
                raise RunFailed(f"{ended:,} jobs had ended, and {row[0] if row else 0:,} are in its history")

    def lateness(self) -> Figures:
        """Measure how late jobs start."""
        record = self.folder / "record.csv"
        observer = Observer(self.url, self.peer.unfinished, self.shape.count + self._warming)
        due = self._due()
        if self.peer.inserts_first:
            self._insert_in_time(due)
        with self.workers(1, record) as pids:
            if not self.peer.inserts_first:
                due = self._due()
                self._insert_in_time(due)
            elif time.time() > due:
                raise RunFailed("its worker was not ready when the first job was due")
            time.sleep(max(0.0, due + self.shape.seconds + LOOK_SECONDS - time.time()))
            polls = observer.watch(CAP_SECONDS[self.shape.unit], lambda: is_alive(pids[0]))
        late = read_record(record, start=due)
        if not late:
            raise RunFailed(f"no job ran, {polls[-1].left:,} left")
        missing = self.shape.count - len(late)
        return {**lateness(late, missing=missing), "left": float(missing)}

    @property
    def _warming(self) -> int:
        """How many jobs are due before those that count."""
        return int(WARM_UP_SECONDS * self.shape.count / self.shape.seconds) if self.shape.seconds else 0

    def _due(self) -> float:
        """Return when the first job that counts is due: a whole second, since 1970."""
        starting = 5.0 if self.peer.inserts_first else 0.0
        inserting = (self.shape.count + self._warming) / self.peer.inserts_per_second
        return float(math.ceil(time.time() + AHEAD_SECONDS + starting + inserting))

    def _insert_in_time(self, due: float) -> None:
        warm_up = WARM_UP_SECONDS if self._warming else 0.0
        first, seconds = due - warm_up, self.shape.seconds + warm_up
        self.insert(self.shape.count + self._warming, int(first * 1000), int(seconds * 1000))
        if time.time() > due:
            raise RunFailed(f"it was still inserting when the first job was due, {time.time() - due:.1f} s before")


def _wait_ready(pid: int, log: Path) -> None:
    def said() -> Sequence[str]:
        return log.read_text(errors="replace").splitlines()

    if not until(lambda: "ready" in said() or not is_alive(pid), READY_SECONDS) or not is_alive(pid):
        raise RunFailed(f"its worker did not become ready: {_end(log.read_text(errors='replace'))}")


def _end(text: str) -> Any:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"
