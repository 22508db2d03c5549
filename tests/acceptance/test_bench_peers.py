"""Our own row in the comparison with peers: rows that a benchmark inserts are run as those of a fire are."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
from benchmarks.peers.ours import OurBench, drain
from benchmarks.peers.subject import Shape
from benchmarks.postgres import Ground
from dev.controlplane import ControlPlane
from dev.postgres import Postgres


def test_runs_what_waits_to_the_last_row(cluster: ControlPlane, postgres_server: Postgres, tmp_path: Path) -> None:
    ground = Ground(postgres_server, tmp_path)
    bench = OurBench(cluster, ground)
    try:
        found = drain(bench, Shape("U1", 500), "best", ground)
    finally:
        bench.close()
        asyncio.run(bench.clear())
        with psycopg.connect(postgres_server.url, autocommit=True) as connection:
            connection.execute("DROP DATABASE run_1 WITH (FORCE)")
    assert found["rate"] > 0
    assert found["left"] == 0
