"""River: a queue of Go whose jobs keep their rows, in one table, until the cleaner deletes them a day later."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from dev.build import go
from dev.processes import locked, say

from benchmarks.peers.peer import PROGRAMS, Peer, cache

SOURCE = PROGRAMS / "river"
MODULE = (SOURCE / "go.mod").read_text()


def _pinned(pattern: str) -> str:
    """Return what go.mod says; LookupError where it does not."""
    found = re.search(pattern, MODULE, re.MULTILINE)
    if found is None:
        raise LookupError(f"{SOURCE / 'go.mod'} has no {pattern}")
    return found.group(1)


def command() -> list[str]:
    """Return how the program is started, built once for what its files are; SystemExit where there is no Go to be had
    or it does not build."""
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(SOURCE.iterdir()))).hexdigest()[:12]
    built = cache() / f"river-{key}" / "river"
    with locked(built.parent.with_suffix(".lock")):
        if not built.exists():
            _build(built)
    return [str(built)]


def _build(target: Path) -> None:
    shutil.rmtree(target.parent, ignore_errors=True)
    target.parent.mkdir(parents=True)
    unfinished = target.with_suffix(".unfinished")
    environment = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
    program = [go(), "build", "-trimpath", "-buildvcs=false", "-o", str(unfinished), "."]
    say("building the worker of River from its Go modules, once (under a minute on two cores)")
    done = subprocess.run(program, cwd=SOURCE, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit("scheduledjobs: building the worker of River failed; what Go said is above")
    unfinished.rename(target)


PEERS = [
    Peer(
        name="River",
        language=_pinned(r"^(go \d+\.\d+)").capitalize(),
        release=_pinned(r"^\s*(?:require )?github\.com/riverqueue/river (v\S+)$").removeprefix("v"),
        keeps_history=True,
        best=(
            "MaxWorkers 2,000, as its own `river bench` has it (cmd/river/riverbench), FetchCooldown and "
            "FetchPollInterval 1 ms, the least that its Config allows, woken by LISTEN/NOTIFY; its batch completer, "
            "which it always has; InsertManyFast (COPY) of 5,000 jobs a call"
        ),
        default=(
            "those of its README: MaxWorkers 100; FetchCooldown 100 ms, FetchPollInterval 1 s, LISTEN/NOTIFY and the "
            "batch completer by default; InsertMany of 5,000 jobs a call"
        ),
        command=command,
        unfinished="SELECT count(*) FROM river_job WHERE state NOT IN ('completed', 'cancelled', 'discarded')",
        finished=(
            "SELECT count(*) AS n, min(finalized_at) AS first, max(finalized_at) AS last FROM river_job"
            " WHERE state IN ('completed', 'cancelled', 'discarded')"
        ),
        inserts_first=True,  # 8 s before they are due: see the remark
        remark=(
            "its leader makes jobs of the future available every 5 s, for the next 5 s: one that is inserted less than "
            "that before it is due may start late for that alone, so all are inserted earlier, before the worker starts"
        ),
    ),
]
