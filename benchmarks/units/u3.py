"""U3: 1,000 and 10,000 jobs due at one moment: when the first of them began, and when the last."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from dev.processes import say, until

from benchmarks.bench import SLOTS, Bench, iso
from benchmarks.figures import Figure, Lateness, at_most
from benchmarks.units.load import NOOP, PATCHES_PER_SECOND, lateness

GOALS = {1_000: at_most(200, 100), 10_000: at_most(3_000, 1_000)}
CREATED_PER_SECOND = 200
"""Fewer than an API server takes, so that all are mirrored in time."""

MARGIN_SECONDS = 12.0
CAP_SECONDS = 30.0
STARTED = "SELECT count(*) AS n FROM job_execution_log WHERE started_at IS NOT NULL"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this unit's options."""
    parser.add_argument("--count", type=int, nargs="+", default=[1_000, 10_000], help="jobs (default: 1000 10000)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, interleaved (default: %(default)s)")
    parser.add_argument("--slots", type=int, default=SLOTS, help="slots of a replica (default: %(default)s)")


def run(bench: Bench, words: argparse.Namespace) -> list[Figure]:
    """Measure each size in turn."""
    found: dict[int, list[Lateness]] = defaultdict(list)
    for _ in range(words.runs):
        for count in words.count:
            found[count].append(at_once(bench, count, words.slots))
    return [figure for count, runs in found.items() for figure in figures(count, runs)]


def figures(count: int, runs: list[Lateness]) -> Iterator[Figure]:
    """Yield the figures of `count` jobs."""
    yield Figure(f"{count:,} due: first start", tuple(run.first for run in runs), "ms")
    yield Figure(f"{count:,} due: p50", tuple(run.p50 for run in runs), "ms")
    yield Figure(f"{count:,} due: p99", tuple(run.p99 for run in runs), "ms")
    yield Figure(f"{count:,} due: last start", tuple(run.last for run in runs), "ms", GOALS.get(count))
    yield Figure(f"{count:,} due: not started", tuple(float(count - run.n) for run in runs), "", at_most(0))


def at_once(bench: Bench, count: int, slots: int) -> Lateness:
    """Return how late `count` one-shot jobs of one moment began; `SystemExit` if they were not all known in time.

    The moment is far enough ahead for all of them to be created, mirrored and told so.
    """
    bench.fresh_database()
    asyncio.run(bench.clear())
    with bench.replicas(1, slots) as [replica]:
        ahead = MARGIN_SECONDS + count / CREATED_PER_SECOND + count / PATCHES_PER_SECOND
        due = bench.now() + timedelta(seconds=ahead)
        due = due.replace(microsecond=due.microsecond // 1000 * 1000)
        asyncio.run(bench.create(count, f"due in {ahead:.0f} s", _specs(count, due)))
        bench.wait_mirrored(count, ahead)
        if not bench.wait_told(replica, count, (due - bench.now()).total_seconds() - 1):
            say("not all statuses are told yet: what is measured now has that beside it")
        left = (due - bench.now()).total_seconds()
        if left < 0:
            raise SystemExit(f"scheduledjobs: {count} jobs were known {-left:.1f} s after they were due")
        time.sleep(left)
        until(lambda: bench.one(STARTED)["n"] >= count, CAP_SECONDS, 0.5)
    return lateness(bench, due, 0.001)


def _specs(count: int, due: datetime) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((f"job-{n}", {"runAt": iso(due), "handler": NOOP}) for n in range(count))
