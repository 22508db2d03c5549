"""Replicas whose database user changes no schema, and the migration that grants that user what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import psycopg
from dev.postgres import Postgres
from tests.acceptance.conftest import Replicas, until

from scheduledjobs.store.roles import roles_sql


def test_replicas_do_all_their_work_as_a_user_that_changes_no_schema(
    replicas: Replicas, postgres_server: Postgres
) -> None:
    name = "tenancy"
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
    with psycopg.connect(postgres_server.url.rsplit("/", 1)[0] + f"/{name}", autocommit=True) as conn:
        conn.execute(roles_sql(name).encode())
        for kind in ("migrator", "runtime"):
            conn.execute(f"ALTER ROLE {name}_{kind} PASSWORD 'secret'".encode())
    urls = {
        kind: f"postgresql://{name}_{kind}:secret@127.0.0.1:{postgres_server.port}/{name}"
        for kind in ("migrator", "runtime")
    }
    said = _migrate(SCHEDULEDJOBS_DATABASE_URL=urls["runtime"], SCHEDULEDJOBS_MIGRATE_URL=urls["migrator"])
    assert said.returncode == 0, said.stderr
    as_runtime: Any = replace(replicas, url=urls["runtime"])  # it shares the processes, which the fixture stops
    for replica in ("one", "two"):
        as_runtime.start(replica, migrate="false", web="true")
    as_runtime.wait_leader(seconds=60)
    as_runtime.apply("job", handler="log", fixedRate="1s")
    succeeded = "SELECT count(*) AS n FROM job_execution_log WHERE state = 'SUCCEEDED'"
    until(lambda: as_runtime.row(succeeded)["n"] >= 3, 60)
    leader = as_runtime.leader()
    as_runtime.processes[leader].kill()
    as_runtime.wait_leader(other_than=leader, seconds=60)
    before = as_runtime.row(succeeded)["n"]
    until(lambda: as_runtime.row(succeeded)["n"] >= before + 3, 60)
    assert "permission denied" not in as_runtime.logs()


def _migrate(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scheduledjobs", "migrate"]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_a_migration_by_the_runtimes_own_address_is_refused_by_name(postgres_server: Postgres) -> None:
    url = postgres_server.url
    said = _migrate(SCHEDULEDJOBS_DATABASE_URL=url, SCHEDULEDJOBS_MIGRATE_URL=url)
    assert said.returncode == 2
    assert "SCHEDULEDJOBS_MIGRATE_URL: names the user of SCHEDULEDJOBS_DATABASE_URL" in said.stderr
