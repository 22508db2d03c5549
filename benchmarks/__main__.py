"""`make bench`: our own figures in five to eight minutes, with a profile: what a change of the code is looked at with.

The units of `python -m benchmarks.units`, made small: the floor, U1 (drained; fired, claimed and completed), U3 with
1,000 jobs and U4 at 100 a second. A real API server, etcd and PostgreSQL on this machine (synchronous_commit and fsync
on); everything shares its cores, so compare figures only within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import pstats
import sys
import time

from dev.processes import exit_with, say

from benchmarks.bench import SLOTS, Bench, servers
from benchmarks.postgres import setup
from benchmarks.units.__main__ import UNITS, report
from benchmarks.units.__main__ import parser as units_parser
from benchmarks.units.load import NOOP

FLOOR = 10_000
PROFILE_JOBS = 5_000
PROFILE_SECONDS = 15.0


def profile(bench: Bench, jobs: int, seconds: float) -> None:
    """Print where the main thread's time goes under load."""
    bench.fresh_database()
    asyncio.run(bench.make_jobs(jobs, NOOP))
    file = bench.folder / "profile"
    replica = bench.replica("profiled", SLOTS, file)
    try:
        bench.wait_mirrored(jobs)
        say(f"profiling for {seconds:g} s")
        time.sleep(seconds)
    finally:
        replica.ask_to_stop()
        replica.wait_end()
    print("where the main thread's time goes (profiled run, by own time):")
    pstats.Stats(str(file), stream=sys.stdout).strip_dirs().sort_stats("tottime").print_stats(15)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--count", type=int, default=50_000, help="executions to drain (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=8_000, help="jobs due each second, together (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=1_000, help="jobs due at one moment (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=30, help="how long each steady run is (default: %(default)g)")
    parser.add_argument("--runs", type=int, default=2, help="runs of U1 (default: %(default)s)")
    words = parser.parse_args()
    seconds, runs = f"--seconds={words.seconds}", f"--runs={words.runs}"
    sizes = [f"--count={words.count}", f"--jobs={words.jobs}", f"--floor-count={min(FLOOR, words.count)}"]
    lines = [
        ["U1", *sizes, runs, seconds],
        ["U3", f"--count={words.at_once}", "--runs=1"],
        ["U4", "--rate=100", seconds],
    ]
    with servers() as bench:
        print(f"setup: {setup(bench.server_url)}, API server and etcd beside it", flush=True)
        for line in lines:
            unit = units_parser().parse_args(line)
            print(report(unit, UNITS[unit.unit].run(bench, unit)), flush=True)
        profile(bench, min(PROFILE_JOBS, words.jobs), min(PROFILE_SECONDS, words.seconds))


if __name__ == "__main__":
    exit_with(main)
