"""APScheduler 3, a scheduler in the process of an application, with its jobs in PostgreSQL."""

from __future__ import annotations

import platform
from dataclasses import replace

from benchmarks.peers.peer import PROGRAMS, Peer, installed, pinned

_PLAIN = Peer(
    name="APScheduler",
    language=f"Python {platform.python_version()}",
    release=pinned(PROGRAMS / "apscheduler" / "requirements.txt", "apscheduler"),
    keeps_history=False,
    best="SQLAlchemyJobStore, 20 threads as in its guide, misfire_grace_time=None: a late job is run too",
    default="SQLAlchemyJobStore, 10 threads, misfire_grace_time=None: a late job is run too",
    command=lambda: installed("apscheduler"),
    unfinished="SELECT count(*) FROM apscheduler_jobs",
    most_processes=1,
    inserts_first=True,
    inserts_per_second=300,
    remark="a job's row is deleted when it is handed to a thread, so one that was running is lost with its process; "
    "a job store must not be shared by processes, and is only read at the start",
)
PEERS = [
    _PLAIN,
    replace(
        _PLAIN,
        name="APScheduler + history",
        keeps_history=True,
        with_history=True,
        unfinished="SELECT greatest(0, %(count)s - count(*)) FROM bench_history",
        finished="SELECT count(*) AS n, min(finished_at) AS first, max(finished_at) AS last FROM bench_history",
        remark=f"{_PLAIN.remark}; the history is a row that a listener of EVENT_JOB_EXECUTED inserts",
    ),
]
