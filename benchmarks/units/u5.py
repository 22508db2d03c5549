"""U5: 100,000 jobs of which none is due: how soon a replica is ready, cold and warm, and what it costs at rest."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from dev.processes import say

from benchmarks.bench import SLOTS, Bench, every_second
from benchmarks.figures import Figure, at_most
from benchmarks.replica import Replica, total
from benchmarks.units.load import NOOP, PATCHES_PER_SECOND

CAP_SECONDS = 600
REST_SECONDS = 15.0
BASELINE_SECONDS = 10.0
PROBES = tuple(f"probe-{n}" for n in range(10))
"""Jobs that are due, a second each: by their first execution one sees that a replica fires."""

FIRST = "SELECT min(started_at) AS at FROM job_execution_log WHERE id > %(after)s"
NEWEST = "SELECT coalesce(max(id), 0) AS id FROM job_execution_log"
COMMITS = "SELECT xact_commit::float8 AS n FROM pg_stat_database WHERE datname = current_database()"
UNTOLD = "scheduledjobs_status_waiting"
"""Statuses that a new leader has not compared yet with what SQL says."""

LIVING = "SELECT count(*) AS n FROM job_definition WHERE state <> 'DELETED'"


@dataclass(frozen=True, slots=True)
class Ready:
    """Seconds from the start of a process until all jobs were in the mirror, or something had been fired; until it was
    ready and led; and the most memory it had by then (cold: until all were told, too), in MB."""

    first: float
    ready: float
    peak: float


@dataclass(frozen=True, slots=True)
class Counted:
    """Counters at one moment: of the leader, of the standby, of the database, of the API server."""

    at: float
    leader_cpu: float
    standby_cpu: float
    statements: float
    commits: float
    requests: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this unit's options."""
    parser.add_argument("--count", type=int, default=100_000, help="idle jobs (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="how long at rest (default: %(default)g)")
    parser.add_argument("--slots", type=int, default=SLOTS, help="slots of a replica (default: %(default)s)")
    parser.add_argument(
        "--settle-minutes",
        type=float,
        default=45,
        help="how long to wait until each job's first status is told, 50 a second (default: %(default)g)",
    )


def run(bench: Bench, words: argparse.Namespace) -> list[Figure]:
    """Create the jobs, start cold, let all be told, start warm, then look at a leader and a standby at rest."""
    count, slots = words.count, words.slots
    asyncio.run(bench.create(count, "that are never due", _idle(count)))
    baseline = _baseline(bench)
    bench.fresh_database()
    cold = _start_cold(bench, count, slots, words.settle_minutes * 60)
    warm, leader = _start_warm(bench, slots)
    standby = bench.replica("standby", slots)
    try:
        bench.wait_ready([leader, standby], CAP_SECONDS)
        asyncio.run(bench.delete(PROBES))
        bench.wait(lambda: bench.one(LIVING)["n"] <= count, "the probes were not deleted", 60, 0.5)
        say(f"at rest: {REST_SECONDS:g} s until it is, then {words.seconds:g} s")
        time.sleep(REST_SECONDS)
        bench.wait(lambda: not leader.metric(UNTOLD), "not all statuses were looked at", CAP_SECONDS, 0.5)
        before = _count(bench, leader, standby)
        time.sleep(words.seconds)
        rest = list(_rest(before, _count(bench, leader, standby), baseline))
        memory = [Figure("leader: RSS", (leader.rss(),), "MB", at_most(400, 250))]
        memory += [Figure("leader: most RSS", (leader.peak(),), "MB")]
        memory += [Figure("standby: RSS", (standby.rss(),), "MB", at_most(120))]
    finally:
        _end([leader, standby])
    return [
        Figure("cold: all mirrored", (cold.first,), "s", at_most(60, 45)),
        Figure("cold: ready", (cold.ready,), "s"),
        Figure("cold: most RSS", (cold.peak,), "MB"),
        Figure("warm: first start of an execution", (warm.first,), "s", at_most(3)),
        Figure("warm: ready, all compared", (warm.ready,), "s"),
        *memory,
        *rest,
    ]


def _idle(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((f"job-{n}", {"schedule": "0 0 1 1 *", "handler": NOOP}) for n in range(count))


def _baseline(bench: Bench) -> float:
    """Return the requests per second that the API server has without us: its own, and the one that asks."""
    before, began = _requests(bench), time.monotonic()
    time.sleep(BASELINE_SECONDS)
    return (_requests(bench) - before) / (time.monotonic() - began)


def _start_cold(bench: Bench, count: int, slots: int, settle: float) -> Ready:
    """Start a replica with an empty mirror; leave a database behind in which all is mirrored and told."""
    began = time.monotonic()
    replica = bench.replica("cold", slots)
    try:
        bench.wait_mirrored(count, CAP_SECONDS)
        first = time.monotonic() - began
        bench.wait_ready([replica], CAP_SECONDS)
        found = Ready(first, time.monotonic() - began, replica.peak())
        say(f"waiting until the first status of each is told, about {count / PATCHES_PER_SECOND / 60:.1f} min")
        now = datetime.now(UTC)
        probes = ((name, {"handler": NOOP, **every_second(now)}) for name in PROBES)
        asyncio.run(bench.create(len(PROBES), "of fixedRate 1s", probes))
        if not bench.wait_told(replica, count + len(PROBES), settle):
            say("not all statuses are told yet: what is measured now has that beside it")
        bench.wait_mirrored(count + len(PROBES))
        return replace(found, peak=replica.peak())
    finally:
        _end([replica])


def _start_warm(bench: Bench, slots: int) -> tuple[Ready, Replica]:
    """Start a replica with a full mirror; return it too."""
    after = bench.one(NEWEST)["id"]
    started_at, began = bench.now(), time.monotonic()
    replica = bench.replica("leader", slots)
    try:
        bench.wait(lambda: bench.one(FIRST, after=after)["at"] is not None, "nothing was fired", CAP_SECONDS, 0.02)
        bench.wait_ready([replica], CAP_SECONDS)
    except BaseException:
        _end([replica])
        raise
    ready = time.monotonic() - began
    first = (bench.one(FIRST, after=after)["at"] - started_at).total_seconds()
    return Ready(first, ready, replica.peak()), replica


def _end(replicas: Sequence[Replica]) -> None:
    for replica in replicas:
        replica.ask_to_stop()
        replica.wait_end()


def _requests(bench: Bench) -> float:
    return total(bench.plane.kubectl("get", "--raw", "/metrics").stdout, "apiserver_request_total")


def _count(bench: Bench, leader: Replica, standby: Replica) -> Counted:
    statements = sum(replica.metric("scheduledjobs_query_seconds_count") for replica in (leader, standby))
    commits = bench.one(COMMITS)["n"]
    return Counted(time.monotonic(), leader.cpu(), standby.cpu(), statements, commits, _requests(bench))


def _rest(before: Counted, after: Counted, baseline: float) -> Iterator[Figure]:
    seconds = after.at - before.at
    yield Figure("leader: CPU", (100 * (after.leader_cpu - before.leader_cpu) / seconds,), "% of a core", at_most(1))
    yield Figure("standby: CPU", (100 * (after.standby_cpu - before.standby_cpu) / seconds,), "% of a core", at_most(1))
    yield Figure("both: SQL statements", ((after.statements - before.statements) / seconds,), "/s")
    yield Figure("both: commits", ((after.commits - before.commits) / seconds,), "/s")
    requests = (after.requests - before.requests) / seconds - baseline
    yield Figure("both: API calls", (max(0.0, requests),), "/s")
