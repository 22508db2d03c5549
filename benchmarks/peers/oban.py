"""Oban for Python, a job queue of asyncio."""

from __future__ import annotations

import subprocess

from benchmarks.peers.peer import PROGRAMS, Peer, installed, newer_python, pinned

OLDEST = 12
"""The minor version of Python 3 that it wants."""


def _command() -> list[str]:
    interpreter = newer_python(OLDEST)
    if interpreter is None:
        raise SystemExit(f"scheduledjobs: oban wants Python 3.{OLDEST} or newer, and there is none in PATH")
    return installed("oban", interpreter=interpreter)


def _language() -> str:
    interpreter = newer_python(OLDEST)
    if interpreter is None:
        return f"Python 3.{OLDEST} or newer"
    asked = [interpreter, "-c", "import platform; print(platform.python_version())"]
    return f"Python {subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()}"


PEERS = [
    Peer(
        name="oban",
        language=_language(),
        release=pinned(PROGRAMS / "oban" / "requirements.txt", "oban"),
        keeps_history=True,
        best=(
            "a queue of limit 500, debounce_interval 1 ms, uvloop as its command line has it; stager each 1 ms, in the "
            "drain each 10 ms, which is faster there"
        ),
        default="a queue of limit 10, stager each second, uvloop as its command line has it",
        command=_command,
        unfinished="SELECT count(*) FROM oban_jobs WHERE state IN ('available', 'scheduled', 'executing', 'retryable')",
        finished="SELECT count(*) AS n, min(completed_at) AS first, max(completed_at) AS last FROM oban_jobs "
        "WHERE state = 'completed'",
    )
]
