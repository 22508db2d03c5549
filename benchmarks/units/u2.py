"""U2: ten minutes at 80 % of what can be fired, claimed and completed: whether it lasts, what an execution costs."""

from __future__ import annotations

import argparse
import asyncio
import time

from dev.processes import say

from benchmarks import floor
from benchmarks.bench import SLOTS, Bench
from benchmarks.figures import Figure, at_least, at_most
from benchmarks.units.load import WARM_UP_SECONDS, add_length, length, start_load
from benchmarks.units.u1 import together
from benchmarks.units.watch import Watch, split

SHARE = 0.8
TRY_SECONDS = 20.0
COUNTERS = """
SELECT (SELECT wal_bytes FROM pg_stat_wal)::float8 AS wal, (SELECT wal_fpi FROM pg_stat_wal)::float8 AS images,
    (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database())::float8 AS commits
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this unit's options."""
    parser.add_argument("--rate", type=int, help="executions a second (default: 80 %% of what is measured first)")
    parser.add_argument("--jobs", type=int, default=12_000, help="jobs due each second in that (default: %(default)s)")
    parser.add_argument("--slots", type=int, default=SLOTS, help="slots of the replica (default: %(default)s)")
    parser.add_argument("--floor-count", type=int, default=floor.COUNT, help="rows of the floor (default: %(default)s)")
    add_length(parser, 10)


def run(bench: Bench, words: argparse.Namespace) -> list[Figure]:
    """Measure the floor, then what can be done, then 80 % of that for as long as was asked for."""
    bare = floor.measure(bench.server_url, words.floor_count)
    rate = words.rate or _most(bench, words.jobs, words.slots)
    window, count = split(length(words))
    bench.fresh_database()
    asyncio.run(bench.clear())  # or the replica would begin among more jobs than it can fire
    with bench.replicas(1, words.slots) as [replica]:
        start_load(bench, replica, rate)
        time.sleep(WARM_UP_SECONDS)
        say(f"{rate:,} a second for {window * count:.0f} s")
        before = bench.one(COUNTERS)
        watch = Watch(bench, replica, window)
        watch.pass_windows(count)
        after = bench.one(COUNTERS)
        seen = watch.windows()
    print(f"{seen.table()}\n", flush=True)
    each = {name: (after[name] - before[name]) / max(1.0, seen.executions) for name in before}
    last_first = seen.rates[-1] / seen.rates[0] if seen.rates[0] else 0.0
    return [
        Figure("executions, all of it", (seen.executions / (window * count),), "/s", at_least(0.99 * rate), bare.whole),
        Figure("last window / first window", (last_first,), "", at_least(0.95)),
        Figure("WAL", (each["wal"],), "B each", at_most(1_200, 700)),
        Figure("full page images", (each["images"],), "each"),
        Figure("commits", (each["commits"],), "each"),
        Figure("dead rows of the log, most", (max(s.dead_log for s in seen.seen),)),
        Figure("dead rows of job_definition, most", (max(s.dead_jobs for s in seen.seen),)),
        Figure("RSS of the replica, growth", (seen.growth,), "MB/h"),
        Figure("RSS of the replica, at the end", (seen.seen[-1].rss,), "MB"),
    ]


def _most(bench: Bench, jobs: int, slots: int) -> int:
    most = together(bench, jobs, slots, WARM_UP_SECONDS, TRY_SECONDS).per_second
    say(f"{most:,.0f} a second can be done")
    return max(1, round(SHARE * most))
