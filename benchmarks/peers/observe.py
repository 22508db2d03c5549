"""How runs are seen from outside: a database that is polled with its own clock, and the starts that workers kept."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import figures
from benchmarks.peers.subject import RunFailed

POLL_SECONDS = 0.1
LAST_SECONDS = 0.01
"""Polls come closer to each other just before the end, so that it is seen to within so much."""


@dataclass(frozen=True)
class Spread:
    """Median, least and most of some runs."""

    median: float
    least: float
    most: float
    runs: int


def summarise(values: Sequence[float]) -> Spread:
    """Return median and range; ValueError of none."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def percentile(ordered: Sequence[float], part: float) -> float:
    """Return the nearest-rank percentile of ascending values: the least that `part` of them do not exceed."""
    if not ordered:
        raise ValueError("no values")
    return figures.percentile(ordered, part)


def lateness(milliseconds: Sequence[float], *, missing: int = 0) -> dict[str, float]:
    """Return first, p50, p99, last (and max, the same) of starts after their due moments, and how many were early.

    What has not started is later than all that has: a percentile that falls on it is infinite.
    """
    ordered = [*sorted(milliseconds), *[math.inf] * missing]
    return {
        "first": ordered[0],
        "p50": percentile(ordered, 0.5),
        "p99": percentile(ordered, 0.99),
        "last": ordered[-1],
        "max": ordered[-1],
        "early": sum(1 for each in ordered if each < 0),
    }


def read_record(file: Path, start: float = -math.inf, end: float = math.inf) -> list[float]:
    """Return how late each start of a worker's record was, in milliseconds, of what was due from `start` until before
    `end`, in seconds since 1970."""
    lines = file.read_text().splitlines() if file.exists() else []
    moments = [(float(due), float(started)) for due, _, started in (line.partition(",") for line in lines)]
    return [started - due for due, started in moments if start * 1000 <= due < end * 1000]


@dataclass(frozen=True)
class Poll:
    """How many jobs had not ended at an instant of the database's clock, in seconds."""

    at: float
    left: int


class Observer:
    """A connection that asks how many jobs have not ended."""

    def __init__(self, url: str, query: str, count: int) -> None:
        self._url = url
        self._query = f"SELECT extract(epoch FROM clock_timestamp())::float8, ({query})"
        self._params: dict[str, Any] | None = {"count": count} if "%(count)s" in query else None
        self._count = count

    def watch(self, seconds: float, is_running: Callable[[], bool]) -> list[Poll]:
        """Poll until nothing is left, for at most so many seconds, or until the workers have ended."""
        polls: list[Poll] = []
        deadline = time.monotonic() + seconds
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not polls or polls[-1].left > 0:
                row = connection.execute(self._query.encode(), self._params).fetchone()
                polls.append(Poll(*(row or (0.0, self._count))))
                if time.monotonic() > deadline or not is_running():
                    break
                if polls[-1].left > 0:
                    time.sleep(pause(polls))
        return polls


def pause(polls: Sequence[Poll]) -> float:
    """Return the seconds until the next poll: less where the jobs that are left will have ended before."""
    last, before = polls[-1], polls[-2] if len(polls) > 1 else polls[-1]
    ended = before.left - last.left
    if ended <= 0:
        return POLL_SECONDS
    return max(LAST_SECONDS, min(POLL_SECONDS, last.left * (last.at - before.at) / ended))


def rate(polls: Sequence[Poll], count: int) -> float:
    """Return executions a second between the first poll that saw progress and the last one; 0 without progress.

    Where all ended between two polls, the time between these two counts: the rate is at least so high. RunFailed where
    all had ended before the first one.
    """
    begun = next((number for number, poll in enumerate(polls) if poll.left < count), None)
    if begun is None:
        return 0.0
    end = next((poll for poll in polls if poll.left == 0), polls[-1])
    start = polls[begun]
    if start.at == end.at:
        if not begun:
            raise RunFailed("all had ended before it was looked at")
        start = polls[begun - 1]
    return (start.left - end.left) / (end.at - start.at)
