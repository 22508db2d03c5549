"""U7: 800 executions a second beside a transaction of half an hour, which lets nothing dead be removed."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from dev.processes import say

from benchmarks.bench import SLOTS, Bench
from benchmarks.figures import Figure, at_least
from benchmarks.units.load import WARM_UP_SECONDS, add_length, length, start_load
from benchmarks.units.watch import Watch, split

KEPT = at_least(95, 99)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this unit's options."""
    parser.add_argument("--rate", type=int, default=800, help="executions a second (default: %(default)s)")
    parser.add_argument("--slots", type=int, default=SLOTS, help="slots of the replica (default: %(default)s)")
    add_length(parser, 30)


def run(bench: Bench, words: argparse.Namespace) -> list[Figure]:
    """Measure one window without the transaction, then as many with it as were asked for."""
    window, count = split(length(words))
    bench.fresh_database()
    with bench.replicas(1, words.slots) as [replica]:
        start_load(bench, replica, words.rate)
        time.sleep(WARM_UP_SECONDS)
        watch = Watch(bench, replica, window)
        watch.pass_windows(1)
        with _pinned(bench.url):
            say(f"a transaction is open for {window * count:.0f} s")
            watch.pass_windows(count)
        seen = watch.windows()
    print(f"{seen.table()}\nthe transaction is open from the second window on\n", flush=True)
    before, pinned = seen.rates[0], seen.rates[1:]
    kept = [100 * rate / before if before else math.nan for rate in (pinned[-1], sum(pinned) / len(pinned))]
    return [
        Figure("rate before the transaction", (before,), "/s"),
        Figure("rate kept, last window", (kept[0],), "%", KEPT),
        Figure("rate kept, all of it", (kept[1],), "%", KEPT),
        Figure("p99 late before it", (seen.p99[0],), "ms"),
        Figure("p99 late, last window", (seen.p99[-1],), "ms"),
        Figure("dead rows of the log, most", (max(s.dead_log for s in seen.seen),)),
        Figure("dead rows of job_definition, most", (max(s.dead_jobs for s in seen.seen),)),
    ]


@contextmanager
def _pinned(url: str) -> Iterator[None]:
    """Keep a transaction open that has a snapshot and a number of its own: either holds vacuum back."""
    with psycopg.connect(url) as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        conn.execute("SELECT pg_current_xact_id(), count(*) FROM job_definition")
        yield
        conn.rollback()
