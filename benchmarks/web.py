"""`python -m benchmarks.web`: lateness of firing with people who look on, and without, interleaved in one run.

Eight clients poll pages as a browser does, every 2 s with the ETag of the answer before; beside them 50 REST reads a
second. The clients are a process of their own, on the same machine. 100 jobs of fixedRate 1s, spread over the second,
one replica.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import os
import platform
import statistics
import time
from collections import Counter
from multiprocessing.synchronize import Event

import aiohttp
from dev.processes import exit_with, free_port

from benchmarks.bench import LATENESS, Bench, servers, stop

CLIENTS = 8
POLL_SECONDS = 2.0
READS_PER_SECOND = 50
WARM_UP_SECONDS = 6.0
PAGES = ["/ui/", "/ui/jobs", "/ui/jobs/default/job-1", "/ui/timeline", "/ui/cluster"]
READS = [
    "/jobs?limit=50",
    "/jobs/default.job-1",
    "/jobs/default.job-2/logs?limit=50",
    "/jobs/default.job-3/versions",
    "/replicas",
    "/preview?schedule=0+2+*+*+*&timeZone=Europe/Berlin",
    "/handlers",
]


async def _poll(session: aiohttp.ClientSession, path: str, number: int, seen: Counter[str]) -> None:
    await asyncio.sleep(number * POLL_SECONDS / CLIENTS)  # people do not open their pages at the same moment
    tag = ""
    while True:
        started = time.monotonic()
        async with session.get(path, headers={"If-None-Match": tag} if tag else {}) as answer:
            await answer.read()
            tag = answer.headers.get("ETag", "")
            seen[f"page {answer.status}"] += 1
        await asyncio.sleep(POLL_SECONDS - (time.monotonic() - started))


async def _read(session: aiohttp.ClientSession, path: str, seen: Counter[str], took: list[float]) -> None:
    started = time.monotonic()
    async with session.get(path) as answer:
        await answer.read()
        seen[f"read {answer.status}"] += 1
    took.append(time.monotonic() - started)


async def _look_on(port: int, token: str, is_over: Event) -> str:
    seen: Counter[str] = Counter()
    took: list[float] = []
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:
        pollers = [asyncio.create_task(_poll(session, PAGES[n % len(PAGES)], n, seen)) for n in range(CLIENTS)]
        reads = []
        for path in itertools.cycle(READS):
            reads.append(asyncio.create_task(_read(session, path, seen, took)))
            await asyncio.sleep(1 / READS_PER_SECOND)
            if is_over.is_set():
                break
        await asyncio.gather(*reads)
        for poller in pollers:
            poller.cancel()
    counted = ", ".join(f"{name}: {count}" for name, count in sorted(seen.items()))
    took = sorted(took[int(WARM_UP_SECONDS * READS_PER_SECOND) :])
    p50, p99 = (took[int(len(took) * part)] * 1000 for part in (0.5, 0.99))
    return f"{counted}; a read p50 {p50:.0f} ms, p99 {p99:.0f} ms"


def _client(port: int, token: str, is_over: Event) -> None:
    print(f"  seen by the clients: {asyncio.run(_look_on(port, token, is_over))}", flush=True)


def measure(bench: Bench, token: str, seconds: float, *, watched: bool) -> int:
    """Print and return the 99th percentile of lateness in milliseconds, with or without people who look on."""
    bench.fresh_database()
    port = free_port()
    replica = bench.start(32, WEB="true", HOST="127.0.0.1", PORT=str(port))
    is_over = multiprocessing.Event()
    client = multiprocessing.Process(target=_client, args=(port, token, is_over))
    try:
        asyncio.run(bench.make_jobs(100))
        bench.wait_mirrored(100)
        if watched:
            client.start()
        start = bench.measure(WARM_UP_SECONDS, seconds)
    finally:
        is_over.set()
        if watched:
            client.join(20)
        stop(replica)
    found = bench.one(LATENESS, start=start, seconds=seconds)
    p50, p99 = found["p"]
    who = "watched  " if watched else "unwatched"
    print(
        f"{who} p50 {p50} ms, p99 {p99} ms, max {found['max']} ms, early {found['early']}, n {found['n']}", flush=True
    )
    return int(p99)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30)
    words = parser.parse_args()
    found: dict[bool, list[int]] = {False: [], True: []}
    with servers() as bench:
        print(f"setup: {os.cpu_count()} cores, Python {platform.python_version()}, {CLIENTS} pollers, 50 reads/s")
        for watched in [False, True] * words.runs:
            found[watched].append(measure(bench, bench.plane.token, words.seconds, watched=watched))
    for watched, name in ((False, "unwatched"), (True, "watched")):
        print(f"p99 {name}: median {statistics.median(found[watched]):g} ms of {found[watched]}")


if __name__ == "__main__":
    exit_with(main)
