"""What several units do alike: jobs at a steady rate, how late they began, and the options that say for how long."""

from __future__ import annotations

import argparse
import asyncio
from datetime import datetime, timedelta

from dev.processes import say

from benchmarks.bench import Bench
from benchmarks.figures import Lateness
from benchmarks.replica import Replica

NOOP = "noop"
WARM_UP_SECONDS = 8.0
PATCHES_PER_SECOND = 50
LATE = """
SELECT extract(epoch FROM started_at - fire_time)::float8 * 1000 AS ms
FROM job_execution_log
WHERE started_at IS NOT NULL AND fire_time >= %(since)s AND fire_time < %(until)s
"""


def add_length(parser: argparse.ArgumentParser, minutes: float) -> None:
    """Add --minutes and --seconds, of which the latter wins."""
    parser.add_argument("--minutes", type=float, default=minutes, help="how long it lasts (default: %(default)g)")
    parser.add_argument("--seconds", type=float, help="the same in seconds, for a check that is no measurement")


def length(words: argparse.Namespace) -> float:
    """Return how many seconds were asked for."""
    return float(words.minutes * 60 if words.seconds is None else words.seconds)


def lateness(bench: Bench, since: datetime, seconds: float) -> Lateness:
    """Return how late the executions began that were due in the `seconds` from `since` on."""
    rows = bench.rows(LATE, since=since, until=since + timedelta(seconds=seconds))
    return Lateness.of(row["ms"] for row in rows)


def start_load(bench: Bench, leader: Replica, rate: int) -> None:
    """Create `rate` jobs that are due each second, and wait until the operator knows them and has told them so."""
    asyncio.run(bench.make_jobs(rate, NOOP))
    bench.wait_mirrored(rate)
    seconds = rate / PATCHES_PER_SECOND
    if seconds > WARM_UP_SECONDS:
        say(f"waiting until the first status of each is told, about {seconds:.0f} s")
    if not bench.wait_told(leader, rate, 60 + 2 * seconds):
        say("not all statuses are told yet: what is measured now has that beside it")
