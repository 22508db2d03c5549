"""Faults of a fail-over of PostgreSQL: an address that leads to a standby."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.postgres import Postgres, binaries, new_postgres, server_user
from tests.acceptance.conftest import until
from tests.faults.stage import Stage, figures
from tests.faults.test_links import begin, buried, lost
from tests.faults.test_postgres import open_folder, own_server


@contextmanager
def standby_of(primary: Postgres, folder: Path) -> Iterator[Postgres]:
    """A server that follows another one, and can be read."""
    made = new_postgres(folder)
    made.password = primary.password
    user = server_user()
    backup = [str(binaries() / "pg_basebackup"), "-D", str(folder / "data"), "-d", primary.url, "-R", "-c", "fast"]
    groups: list[int] | None = None if user is None else []
    command = [*backup, "--no-sync"]
    subprocess.run(command, check=True, capture_output=True, cwd="/", user=user, group=user, extra_groups=groups)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_the_address_of_the_leader_leads_to_a_standby(stage: Stage) -> None:
    """As that of a Service or of DNS may for a while after a fail-over: whoever is led there is without a database, and
    back when the address is."""
    with (
        open_folder("scheduledjobs-standby-") as base,
        own_server(stage, base / "server", wal_level="replica", max_wal_senders="4") as server,
        standby_of(server, base / "standby") as standby,
    ):
        begin(stage)
        since, leader = stage.now(), str(stage.leader())
        way = stage.db[leader]
        way.lead_to(standby.port)
        way.cut()
        until(lambda: stage.leader() not in {None, leader}, 30)
        stage.run_for(15)
        gap = stage.gap(since)
        way.lead_to(server.port)  # and nothing is cut: what it is connected to stays as it is
        beats = "SELECT 1 FROM scheduler_instance WHERE hostname = %s AND dead_at IS NULL AND started_at > %s"
        until(lambda: stage.rows(beats, leader, since), 30)
        stage.judge(figures(gap=gap, lost=lost(stage), declared_dead=buried(stage)))
        assert gap < 10
