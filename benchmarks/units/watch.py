"""A run of a steady rate, watched window by window: what ended in each, how late it began, what it cost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from dev.processes import say

from benchmarks.bench import Bench
from benchmarks.figures import shown, slope, table
from benchmarks.replica import Replica

WINDOW_SECONDS = 60.0
SAMPLES = 12
"""Looks at memory in each window."""

SETTLE_SECONDS = 2.0
ENDED = """
SELECT floor(extract(epoch FROM finished_at - %(start)s) / %(window)s)::int AS number, count(*) AS n,
    percentile_disc(0.99) WITHIN GROUP (ORDER BY lateness_ms) AS p99_ms
FROM job_execution_log
WHERE state = 'SUCCEEDED' AND finished_at >= %(start)s
    AND finished_at < %(start)s + make_interval(secs => %(window)s * %(count)s)
GROUP BY 1
"""
DEAD = """
SELECT coalesce(sum(n_dead_tup) FILTER (WHERE relname LIKE 'job_execution_log%%'), 0)::float8 AS log,
    coalesce(sum(n_dead_tup) FILTER (WHERE relname = 'job_definition'), 0)::float8 AS jobs
FROM pg_stat_user_tables
"""
HEAD = ("window", "executions/s", "p99 late, ms", "RSS, MB", "dead rows, log", "dead rows, jobs")


@dataclass(frozen=True, slots=True)
class Seen:
    """What was looked at when a window ended: memory in MB, dead rows of the log and of job_definition."""

    rss: float
    dead_log: float
    dead_jobs: float


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of a run, in order: executions per second, the 99th percentile of lateness in ms, what was seen.

    `samples` are MB of memory by hours since the beginning.
    """

    seconds: float
    rates: tuple[float, ...]
    p99: tuple[float, ...]
    seen: tuple[Seen, ...]
    samples: tuple[tuple[float, float], ...]

    @property
    def executions(self) -> float:
        """How many ended in all windows together."""
        return sum(self.rates) * self.seconds

    @property
    def growth(self) -> float:
        """MB by which the replica's memory grew an hour, by least squares."""
        return slope(self.samples)

    def table(self) -> str:
        """Return a row a window."""
        rows = zip(self.rates, self.p99, self.seen, strict=True)
        return table(
            HEAD,
            [
                (str(number), *map(shown, (rate, p99, seen.rss, seen.dead_log, seen.dead_jobs)))
                for number, (rate, p99, seen) in enumerate(rows, 1)
            ],
        )


def split(seconds: float) -> tuple[float, int]:
    """Return how long each window is and how many there are: minutes, or two halves of what is shorter than two."""
    if seconds < 2 * WINDOW_SECONDS:
        return seconds / 2, 2
    return WINDOW_SECONDS, int(seconds // WINDOW_SECONDS)


class Watch:
    """Looks at one replica from `start` on, a window at a time."""

    def __init__(self, bench: Bench, replica: Replica, window: float) -> None:
        self._bench = bench
        self._replica = replica
        self._window = window
        self._began = time.monotonic()
        self._seen: list[Seen] = []
        self._samples: list[tuple[float, float]] = []
        self.start: datetime = bench.now()

    def pass_windows(self, count: int) -> None:
        """Let so many windows go by."""
        for _ in range(count):
            self._pass()
            say(f"{(len(self._seen)) * self._window:.0f} s have passed, RSS {self._seen[-1].rss:.0f} MB")

    def _pass(self) -> None:
        ends = self._began + self._window * (len(self._seen) + 1)
        while (left := ends - time.monotonic()) > 0:
            time.sleep(min(left, self._window / SAMPLES))
            self._samples.append(((time.monotonic() - self._began) / 3600, self._replica.rss()))
        dead = self._bench.one(DEAD)
        self._seen.append(Seen(self._replica.rss(), dead["log"], dead["jobs"]))

    def windows(self) -> Windows:
        """Return what has been seen, once what ended in the last window is written."""
        time.sleep(SETTLE_SECONDS)
        count = len(self._seen)
        found = self._bench.rows(ENDED, start=self.start, window=self._window, count=count)
        by_number = {row["number"]: row for row in found}
        rates = (by_number[n]["n"] / self._window if n in by_number else 0.0 for n in range(count))
        late = _p99(by_number, range(count))
        return Windows(self._window, tuple(rates), tuple(late), tuple(self._seen), tuple(self._samples))


def _p99(by_number: dict[int, dict[str, float]], numbers: Sequence[int]) -> Iterator[float]:
    for number in numbers:
        yield float(by_number[number]["p99_ms"]) if number in by_number else float("nan")
