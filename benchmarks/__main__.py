"""`make bench`: executions per second with full history, and lateness at 100 fires a second, all parts at work.

A real API server, etcd and PostgreSQL on this machine (synchronous_commit and fsync on); jobs are resources, mirrored
by the operator itself; figures are read from job_execution_log. Everything shares the machine's cores, the database
and the API server too, so compare figures only within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import pstats
import signal
import sys
import tempfile
import time
from pathlib import Path

from dev.controlplane import ControlPlane
from dev.postgres import new_postgres
from dev.processes import say

from benchmarks.bench import LATENESS, Bench, stop

RATE = """
SELECT count(*) / %(seconds)s AS per_second
FROM job_execution_log
WHERE state = 'SUCCEEDED' AND finished_at >= %(start)s AND finished_at < %(start)s + make_interval(secs => %(seconds)s)
"""


def throughput(bench: Bench, jobs: int, warm_up: float, seconds: float) -> None:
    """Print executions per second with more jobs due than can be run."""
    bench.fresh_database()
    asyncio.run(bench.make_jobs(jobs))
    replica = bench.start(slots=1000)
    try:
        bench.wait_mirrored(jobs)
        say(f"{warm_up:g} s of warm-up, then {seconds:g} s")
        start = bench.measure(warm_up, seconds)
    finally:
        stop(replica)
    rate = bench.one(RATE, start=start, seconds=seconds)["per_second"]
    setup = f"offered {jobs}, one replica, 1000 slots, {seconds:g} s"
    print(f"executions per second, fire to history: {rate:.0f} ({setup})", flush=True)


def lateness(bench: Bench, warm_up: float, seconds: float) -> None:
    """Print how late starts are at 100 fires a second."""
    bench.fresh_database()
    replica = bench.start(slots=32)
    try:
        asyncio.run(bench.make_jobs(100))
        bench.wait_mirrored(100)
        start = bench.measure(warm_up, seconds)
    finally:
        stop(replica)
    found = bench.one(LATENESS, start=start, seconds=seconds)
    p50, p99 = found["p"]
    rest = f"max {found['max']} ms, early {found['early']}, n {found['n']}"
    print(f"lateness at 100 fires/s: p50 {p50} ms, p99 {p99} ms, {rest}", flush=True)


def profile(bench: Bench, folder: Path, jobs: int) -> None:
    """Print where the main thread's time goes under load."""
    bench.fresh_database()
    asyncio.run(bench.make_jobs(jobs))
    file = folder / "profile"
    replica = bench.start(slots=1000, profile=file)
    bench.wait_mirrored(jobs)
    time.sleep(15)
    stop(replica)
    print("where the main thread's time goes (profiled run, by own time):")
    pstats.Stats(str(file), stream=sys.stdout).strip_dirs().sort_stats("tottime").print_stats(15)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--jobs", type=int, default=5000, help="jobs due each second in the throughput run")
    parser.add_argument("--warm-up", type=float, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    words = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped then too
    folder = Path(tempfile.mkdtemp(prefix="scheduledjobs-bench-"))
    folder.chmod(0o755)
    plane, postgres = ControlPlane(folder / "controlplane"), new_postgres(folder / "postgres")
    plane.folder.mkdir()
    try:
        say("starting PostgreSQL, etcd and kube-apiserver")
        postgres.start()
        plane.start()
        print(
            f"setup: {os.cpu_count()} cores, Python {platform.python_version()}, PostgreSQL 18 and API server beside it"
        )
        bench = Bench(plane, postgres, folder)
        lateness(bench, words.warm_up, words.seconds)
        throughput(bench, words.jobs, words.warm_up, words.seconds)
        profile(bench, folder, words.jobs)
    finally:
        plane.stop()
        postgres.stop()


if __name__ == "__main__":
    main()
