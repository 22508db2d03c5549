"""Quartz (Java), its JDBC job store clustered: a trigger for each start; one that has fired is deleted."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.peers import java
from benchmarks.peers.peer import Peer

PEER = Peer(
    name="Quartz",
    language=java.language(),
    release=java.release("quartz", "quartz"),
    keeps_history=False,
    best=(
        "JobStoreTX, clustered, 20 threads and three connections more (as its configuration reference asks), "
        "batchTriggerAcquisitionMaxCount 20 with acquireTriggersWithinLock, idleWaitTime 1 s (the least it takes), "
        "triggers that ignore misfires; no fire-ahead window, which fires early"
    ),
    default="JobStoreTX, clustered, 10 threads, one trigger at a time, idleWaitTime 30 s, its smart misfire policy",
    command=java.program("quartz", "Quartz"),
    unfinished="SELECT count(*) FROM qrtz_triggers",
    inserts_per_second=300,
)
WITH_HISTORY = replace(
    PEER,
    name="Quartz + history",
    keeps_history=True,
    with_history=True,
    finished="SELECT count(*) AS n, min(finished_at) AS first, max(finished_at) AS last FROM bench_history",
    remark="the job inserts a row: JobStoreTX runs it outside of its own transactions",
)
PEERS = [PEER, WITH_HISTORY]
