"""The CronJob controller itself: how long after its minute each Job of many CronJobs of `* * * * *` appears.

It is kube-controller-manager of the release whose API server the benchmarks run on, with no other controller in it, at
its defaults or with its limits lifted, on a fresh etcd. Nothing runs the Jobs: what is measured is when they appear, as
a watch on this machine sees them (their creationTimestamp has whole seconds). etcd does not wait for the disk here, so
the controller has it easier than in a cluster.

`python -m benchmarks.peers.cronjob_controller` prints the rows by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from dev.build import CONTROLLER_MANAGER, KUBERNETES, program
from dev.controlplane import ControlPlane
from dev.processes import exit_with, free_port, is_alive, say, start, stop, until

from benchmarks.peers.observe import lateness

NAME = "CronJob controller"
LANGUAGE = "Go"
RELEASE = KUBERNETES.removeprefix("v")
DEFAULT = "--concurrent-cron-job-syncs=5 --kube-api-qps=20 --kube-api-burst=30, its own"
LIFTED = ["--concurrent-cron-job-syncs=100", "--kube-api-qps=10000", "--kube-api-burst=10000"]
BEST = f"its limits lifted: {' '.join(LIFTED)}"

CRONJOBS = "/apis/batch/v1/namespaces/default/cronjobs"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
CONCURRENT = 16
CREATED_PER_SECOND = 50
"""CronJobs are created faster than this, or the run would not begin at one minute for all of them."""

MINUTE = 60
LOG = "kube-controller-manager.log"
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
READY_SECONDS = 60

Seen = list[tuple[float, bytes]]
"""Lines of a watch, each with the instant it arrived, in seconds since 1970."""


def expected(count: int, minutes: int) -> int:
    """Return how many Jobs there should be."""
    return count * minutes


def measure(folder: Path, *, count: int, minutes: int, lifted: bool) -> list[float]:
    """Return how late each Job of so many whole minutes appeared, in milliseconds; those that did not are left out.

    What has not appeared when the last minute ends is not waited for. SystemExit where a server does not start or
    ends, or where the CronJobs could not be created within a minute.
    """
    plane, pids = ControlPlane(folder / "controlplane"), list[int]()
    plane.folder.mkdir(parents=True)
    try:
        plane.start()
        _start_controller(plane, folder, LIFTED if lifted else [], pids)
        found = asyncio.run(_measure(plane, count, minutes))
        _check_alive(pids[0], folder / LOG)
        return found
    finally:
        for pid in pids:
            stop(pid)
        plane.stop()


def _start_controller(plane: ControlPlane, folder: Path, limits: list[str], pids: list[int]) -> None:
    command = [
        str(program(CONTROLLER_MANAGER)),
        f"--kubeconfig={plane.kubeconfig}",
        "--controllers=cronjob-controller",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={free_port()}",
        f"--cert-dir={folder / 'controller-manager'}",
        *limits,
    ]
    log = folder / LOG
    start(command, log, pids.append)
    until(lambda: "Starting cronjob controller" in log.read_text() or not is_alive(pids[0]), READY_SECONDS)
    _check_alive(pids[0], log)


def _check_alive(pid: int, log: Path) -> None:
    if not is_alive(pid):
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise SystemExit(f"scheduledjobs: the CronJob controller ended; the end of {log}:\n{tail}")


async def _measure(plane: ControlPlane, count: int, minutes: int) -> list[float]:
    async with _session(plane) as session:
        began = await _create(session, count)
        first = began + MINUTE
        seen: Seen = []
        async with session.get(JOBS) as answer:
            version = (await answer.json())["metadata"]["resourceVersion"]
        watching = asyncio.create_task(_watch(session, version, seen))
        say(f"{count} CronJobs are there; their Jobs of {minutes} min are watched")
        done, _ = await asyncio.wait([watching], timeout=first + minutes * MINUTE - time.time())
        if done:
            raise SystemExit(f"scheduledjobs: the watch of Jobs ended by itself: {watching.exception()!r}")
        watching.cancel()
    return late(seen, first, minutes)


async def _create(session: aiohttp.ClientSession, count: int) -> float:
    """Create the CronJobs within one minute, and return when that minute began, in seconds since 1970."""
    needed = count / CREATED_PER_SECOND + 5
    if needed > MINUTE - time.time() % MINUTE:
        await asyncio.sleep(MINUTE - time.time() % MINUTE + 1)
    began = time.time() // MINUTE * MINUTE
    gate = asyncio.Semaphore(CONCURRENT)
    await asyncio.gather(*(_create_one(session, gate, number) for number in range(count)))
    if time.time() > began + MINUTE:
        raise SystemExit(f"scheduledjobs: {count} CronJobs could not be created within a minute")
    return began


async def _create_one(session: aiohttp.ClientSession, gate: asyncio.Semaphore, number: int) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "nothing", "image": "nothing"}]}
    body = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": f"nothing-{number}"},
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": pod}}}},
    }
    async with gate, session.post(CRONJOBS, json=body) as answer:
        answer.raise_for_status()


async def _watch(session: aiohttp.ClientSession, version: str, seen: Seen) -> None:
    """Note each line as it comes; a watch that is ended goes on where it was."""
    endless = aiohttp.ClientTimeout(total=None)
    while True:
        query = {"watch": "true", "resourceVersion": version}
        async with session.get(JOBS, params=query, timeout=endless) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                seen.append((time.time(), line))
        if seen:
            version = json.loads(seen[-1][1])["object"]["metadata"]["resourceVersion"]


def late(seen: Iterable[tuple[float, bytes]], first: float, minutes: int) -> list[float]:
    """Return how late Jobs of the minutes from `first` on were seen to be added, in milliseconds."""
    found = []
    for at, line in seen:
        event: dict[str, Any] = json.loads(line)
        if event["type"] != "ADDED":
            continue
        scheduled = datetime.fromisoformat(event["object"]["metadata"]["annotations"][SCHEDULED]).timestamp()
        if first <= scheduled < first + minutes * MINUTE:
            found.append((at - scheduled) * 1000)
    return found


@asynccontextmanager
async def _session(plane: ControlPlane) -> AsyncIterator[aiohttp.ClientSession]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a certificate that this API server just made
    connector = aiohttp.TCPConnector(ssl=context, limit=CONCURRENT + 1)
    headers = {"Authorization": f"Bearer {plane.token}"}
    async with aiohttp.ClientSession(plane.server, headers=headers, connector=connector) as session:
        yield session


def row(milliseconds: list[float], wanted: int) -> str:
    """Return what is printed of a run."""
    missing = f"missing {wanted - len(milliseconds):,} of {wanted:,}"
    if not milliseconds:
        return missing
    figures = lateness(milliseconds)
    return ", ".join([*(f"{name} {figures[name]:,.0f} ms" for name in ("first", "p50", "p99", "last")), missing])


def main() -> None:
    """Print a row for each number of CronJobs, at the defaults and with the limits lifted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.cronjob_controller", description=__doc__)
    parser.add_argument("--count", type=int, nargs="+", default=[1000, 300], help="how many CronJobs")
    parser.add_argument("--minutes", type=int, default=3)
    words = parser.parse_args()
    for count in words.count:
        for lifted in (False, True):
            say(f"{count} CronJobs, {words.minutes} min, {BEST if lifted else DEFAULT}")
            with tempfile.TemporaryDirectory(prefix="scheduledjobs-cronjobs-") as folder:
                found = measure(Path(folder), count=count, minutes=words.minutes, lifted=lifted)
            how = "limits lifted" if lifted else "defaults"
            print(
                f"{NAME} {RELEASE}, {count} CronJobs, {how}: {row(found, expected(count, words.minutes))}", flush=True
            )


if __name__ == "__main__":
    exit_with(main)
