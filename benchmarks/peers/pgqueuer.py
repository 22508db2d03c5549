"""PgQueuer, a job queue of asyncio."""

from __future__ import annotations

import platform

from benchmarks.peers.peer import PROGRAMS, Peer, installed, pinned

PEERS = [
    Peer(
        name="PgQueuer",
        language=f"Python {platform.python_version()}",
        release=pinned(PROGRAMS / "pgqueuer" / "requirements.txt", "pgqueuer"),
        keeps_history=True,
        best="batch_size=500, one asyncpg connection and uvloop as in its own benchmark, tables durable, `pgq autovac`",
        default="batch_size=10, asyncpg, uvloop as its command line has it, tables durable",
        command=lambda: installed("pgqueuer"),
        unfinished="SELECT count(*) FROM pgqueuer",
        finished="SELECT count(*) AS n, min(created) AS first, max(created) AS last FROM pgqueuer_log "
        "WHERE status = 'successful'",
        remark="its history is log rows only: one for each change of a job's state, without the payload",
    )
]
