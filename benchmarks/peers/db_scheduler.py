"""db-scheduler (Java): one-time tasks in one table; what has ended is deleted."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.peers import java
from benchmarks.peers.peer import Peer

PEER = Peer(
    name="db-scheduler",
    language=java.language(),
    release=java.release("db-scheduler", "db-scheduler"),
    keeps_history=False,
    best=(
        "100 threads, lock-and-fetch with limits 2.0 and 6.0 (the fastest of its docs/performance.md on four cores), "
        "90 connections, polling every 1 ms; no immediate execution, which only hints at the process that schedules, "
        "here another one"
    ),
    default="the builder's own: 10 threads, fetch with limits 0.5 and 3.0, polling every 10 s; HikariCP's 10 too",
    command=java.program("db-scheduler", "DbScheduler"),
    unfinished="SELECT count(*) FROM scheduled_tasks",
)
WITH_HISTORY = replace(
    PEER,
    name="db-scheduler + history",
    keeps_history=True,
    with_history=True,
    finished="SELECT count(*) AS n, min(finished_at) AS first, max(finished_at) AS last FROM bench_history",
    remark="the handler inserts a row: db-scheduler runs it outside of the transaction that deletes the task",
)
PEERS = [PEER, WITH_HISTORY]
