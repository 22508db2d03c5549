"""procrastinate, a job queue of asyncio (and Django)."""

from __future__ import annotations

import platform

from benchmarks.peers.peer import PROGRAMS, Peer, installed, pinned

PEERS = [
    Peer(
        name="procrastinate",
        language=f"Python {platform.python_version()}",
        release=pinned(PROGRAMS / "procrastinate" / "requirements.txt", "procrastinate"),
        keeps_history=True,
        best="concurrency=30 as in its guide, up to 32 connections, LISTEN, polls for scheduled jobs each 1 ms",
        default="concurrency=1, LISTEN, polls each 5 s",
        command=lambda: installed("procrastinate"),
        unfinished="SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')",
        finished="SELECT count(*) AS n, min(at) AS first, max(at) AS last FROM procrastinate_events "
        "WHERE type = 'succeeded'",
    )
]
