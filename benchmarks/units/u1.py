"""U1: executions per second: 50,000 that wait are drained by one replica and by two, and jobs are fired, claimed and
completed together, more of them than can be run."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from dev.processes import say

from benchmarks import floor
from benchmarks.bench import SLOTS, Bench
from benchmarks.figures import Figure, at_least
from benchmarks.units.load import NOOP, PATCHES_PER_SECOND, WARM_UP_SECONDS

JOBS = 100
DRAIN = at_least(8_000, 16_000)
TOGETHER = at_least(6_000, 10_000)
SHARE = at_least(50)
CAP_SECONDS = 120
CREATED_PER_SECOND = 200
OFFERED_ALL = 0.95
WAITING = """
INSERT INTO job_execution_log (
    fire_time, namespace, job_name, state, trigger, handler, job_id, version, visible_at, start_before
)
SELECT m.fire_time, j.namespace, j.name, 'PENDING', 'SCHEDULE', j.handler, j.id, j.version, %(at)s,
    m.fire_time + make_interval(days => 1, secs => 0.001)
FROM job_definition AS j
CROSS JOIN LATERAL (
    SELECT statement_timestamp() - make_interval(secs => n * 0.001) AS fire_time, n
    FROM generate_series(1, %(count)s / (SELECT count(*) FROM job_definition WHERE state = 'ACTIVE')) AS n
) AS m
WHERE j.state = 'ACTIVE'
ORDER BY m.n, j.id
RETURNING id
"""
LIVE = """
SELECT EXISTS (SELECT FROM job_execution_log WHERE state IN ('PENDING', 'RUNNING')) AS is_live, clock_timestamp() AS now
"""
DRAINED = """
SELECT min(claimed_at) AS began, count(*) FILTER (WHERE state = 'SUCCEEDED') AS n FROM job_execution_log
"""
RATE = """
SELECT count(*) / %(seconds)s::float8 AS per_second
FROM job_execution_log
WHERE state = 'SUCCEEDED' AND finished_at >= %(start)s AND finished_at < %(start)s + make_interval(secs => %(seconds)s)
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """Executions per second, and what one costs the replicas in microseconds of CPU."""

    per_second: float
    cpu_us: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this unit's options."""
    parser.add_argument("--count", type=int, default=50_000, help="executions to drain (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, interleaved (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=12_000, help="jobs due each second, together (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=30, help="how long together (default: %(default)g)")
    parser.add_argument("--slots", type=int, default=SLOTS, help="slots of a replica (default: %(default)s)")
    parser.add_argument("--floor-count", type=int, default=floor.COUNT, help="rows of the floor (default: %(default)s)")


def run(bench: Bench, words: argparse.Namespace) -> list[Figure]:
    """Measure the floor, then drains and together in turn."""
    bare = floor.measure(bench.server_url, words.floor_count)
    one: list[Rate] = []
    two: list[Rate] = []
    both: list[Rate] = []
    for number in range(1, words.runs + 1):
        say(f"run {number} of {words.runs}, about {60 + 20 + words.jobs / 300 + words.seconds:.0f} s")
        one.append(drain(bench, words.count, 1, words.slots))
        two.append(drain(bench, words.count, 2, words.slots))
        both.append(together(bench, words.jobs, words.slots, WARM_UP_SECONDS, words.seconds))
    rates = _rates(both)
    return [
        Figure("drained by one replica", _rates(one), "/s", DRAIN, bare.drain),
        Figure("drained by two replicas", _rates(two), "/s", DRAIN, bare.drain),
        Figure("fired, claimed and completed", rates, "/s", TOGETHER, bare.whole),
        Figure("the same as a share of the floor", tuple(100 * rate / bare.whole for rate in rates), "%", SHARE),
        Figure("CPU of the replica, drained", tuple(rate.cpu_us for rate in one), "us each"),
        Figure("CPU of the replica, together", tuple(rate.cpu_us for rate in both), "us each"),
    ]


def _rates(found: Sequence[Rate]) -> tuple[float, ...]:
    return tuple(rate.per_second for rate in found)


def drain(bench: Bench, count: int, replicas: int, slots: int) -> Rate:
    """Return how fast replicas that are ready run `count` executions which may all begin at the same moment.

    From the first claim to when nothing is waiting or running any more, by the database's clock.
    """
    bench.fresh_database()
    asyncio.run(_idle_jobs(bench))
    with bench.replicas(replicas, slots) as found:
        bench.wait_mirrored(JOBS)
        leader = next(replica for replica in found if replica.is_leader())
        bench.wait_told(leader, JOBS, 20 * JOBS / PATCHES_PER_SECOND)
        at = bench.now() + timedelta(seconds=3 + count / 10_000)
        wanted = len(bench.rows(WAITING, count=count, at=at))
        bench.one("CHECKPOINT")
        say(f"draining {wanted:,} executions by {replicas}")
        time.sleep(max(0.0, (at - bench.now()).total_seconds()))
        cpu = sum(replica.cpu() for replica in found)
        bench.one("NOTIFY scheduledjobs_work")
        bench.wait(lambda: not bench.one(LIVE)["is_live"], f"{wanted} executions did not end", CAP_SECONDS, 0.02)
        ended = bench.now()
        cpu = sum(replica.cpu() for replica in found) - cpu
    drained = bench.one(DRAINED)
    if drained["n"] != wanted:
        raise SystemExit(f"scheduledjobs: {drained['n']} of {wanted} executions succeeded")
    return Rate(wanted / (ended - drained["began"]).total_seconds(), cpu / wanted * 1e6)


async def _idle_jobs(bench: Bench) -> None:
    await bench.clear()
    specs = (
        (f"job-{n}", {"schedule": "0 0 1 1 *", "handler": NOOP, "concurrencyPolicy": "Allow"}) for n in range(JOBS)
    )
    await bench.create(JOBS, "that are never due", specs)


def together(bench: Bench, jobs: int, slots: int, warm_up: float, seconds: float) -> Rate:
    """Return executions per second, fire to history, with `jobs` due each second: more than can be run."""
    bench.fresh_database()
    asyncio.run(bench.clear())
    with bench.replicas(1, slots) as [replica]:
        # Not due before all are there: firing as much as can be fired, a replica would take long to learn of the rest.
        due = asyncio.run(bench.make_jobs(jobs, NOOP, 10 + jobs / CREATED_PER_SECOND))
        bench.wait_mirrored(jobs)
        time.sleep(max(0.0, (due - bench.now()).total_seconds()))
        say(f"{jobs:,} jobs due each second: {warm_up:g} s of warm-up, then {seconds:g} s")
        time.sleep(warm_up)
        start, cpu = bench.now(), replica.cpu()
        time.sleep(seconds)
        cpu = replica.cpu() - cpu
        time.sleep(1)  # what ended in time is written
    per_second = float(bench.one(RATE, start=start, seconds=seconds)["per_second"])
    if per_second >= OFFERED_ALL * jobs:
        say(f"nearly all that was due was run: more jobs than {jobs} would tell how much can be")
    return Rate(per_second, cpu / max(1.0, per_second * seconds) * 1e6)
