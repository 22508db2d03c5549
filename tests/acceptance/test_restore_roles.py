"""What docs/howto/restore.md says of roles, and of a cluster without a pod: its own commands, run as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import psycopg
import pytest
import yaml
from dev.build import HELM4, program
from dev.controlplane import ControlPlane, kubectl
from dev.postgres import Postgres, binaries
from psycopg import errors

from scheduledjobs.store.roles import reader_sql, roles_sql

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/howto/restore.md").read_text()
ROLES = ("scheduledjobs_owner", "scheduledjobs_migrator", "scheduledjobs_runtime", "finance_reader")
BLOCK = re.compile(r"^( *)```console\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
(VERIFY,) = re.findall(r"`(scheduledjobs verify [^`]+)`", PAGE)


def commands(heading: str) -> list[str]:
    """Return the blocks of commands under a heading of the page, as they stand there."""
    section = PAGE.split(f"{heading}\n", 1)[1].split("\n##", 1)[0]
    return [dedent(text) for _, text in BLOCK.findall(section)]


def run(script: str, folder: Path, **environment: str) -> str:
    path = f"{binaries()}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        env={**os.environ, "PATH": path, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Site:
    """A server with the database `scheduler` and the roles that the pages name."""

    server: Postgres
    folder: Path

    @property
    def address(self) -> str:
        return self.server.url.rsplit("/", 1)[0]

    def url(self, role: str) -> str:
        return f"postgresql://{role}:secret@127.0.0.1:{self.server.port}/scheduler"

    def administer(self, *statements: str, database: str = "scheduler") -> None:
        with psycopg.connect(f"{self.address}/{database}", autocommit=True) as conn:
            for statement in statements:
                conn.execute(statement.encode())

    def set_passwords(self) -> None:
        self.administer(*(f"ALTER ROLE {role} PASSWORD 'secret'" for role in ROLES[1:]))

    def read(self, role: str, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url(role), autocommit=True) as conn:
            return conn.execute(query.encode()).fetchall()

    def run(self, script: str) -> str:
        return run(
            script,
            self.folder,
            SERVER=self.address,
            SCHEDULEDJOBS_MIGRATE_URL=self.url("scheduledjobs_migrator"),
            SCHEDULEDJOBS_DATABASE_URL=self.url("scheduledjobs_runtime"),
        )

    def lose(self) -> None:
        """Lose the server's roles too, as with a new server."""
        self.administer("DROP DATABASE IF EXISTS scheduler WITH (FORCE)", database="postgres")
        self.administer(*(f"DROP ROLE IF EXISTS {role}" for role in ROLES), database="postgres")


JOB = """
INSERT INTO job_definition (
    id, namespace, name, version, resource_version, spec, state, reason, effective_from, created_at, updated_at
) SELECT gen_random_uuid(), n, 'job', 1, 1, '{}', 'ACTIVE', 'Scheduled', now(), now(), now()
FROM unnest(ARRAY['finance', 'sales']) AS n
RETURNING namespace
"""
CONNECTS = "SELECT has_database_privilege('public', 'scheduler', 'CONNECT')"


@pytest.fixture
def site(postgres_server: Postgres, tmp_path: Path) -> Iterator[Site]:
    """Two jobs in two namespaces, a reader of one, and a backup as the page says."""
    made = Site(postgres_server, tmp_path)
    made.administer("CREATE DATABASE scheduler", database="postgres")
    made.administer(roles_sql("scheduledjobs"), "CREATE ROLE finance_reader")
    made.set_passwords()
    made.run("scheduledjobs migrate")
    made.administer(reader_sql("finance_reader", ["finance"]))
    assert len(made.read("scheduledjobs_runtime", JOB)) == 2
    made.run(commands("### With roles")[0])
    yield made
    made.lose()


def is_as_before(site: Site) -> None:
    """Everybody may do what they could, and no more; a replica's own commands run."""
    site.run("scheduledjobs migrate")
    assert "closed until" in site.run("scheduledjobs restored")
    assert "0 lost, 0 doubled" in site.run(VERIFY)
    assert site.read("scheduledjobs_runtime", "SELECT count(*) FROM job_definition") == [(2,)]
    assert site.read("scheduledjobs_runtime", "SELECT make_day('job_execution_log', current_date + 30)")
    assert site.read("finance_reader", "SELECT namespace FROM reader_job_definition") == [("finance",)]
    assert site.read("finance_reader", "SHOW statement_timeout") == [("30s",)]
    assert site.read("scheduledjobs_migrator", "SELECT current_user::text") == [("scheduledjobs_owner",)]
    owners = "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    assert site.read("scheduledjobs_migrator", owners) == [("scheduledjobs_owner",)]
    assert site.read("scheduledjobs_migrator", CONNECTS) == [(False,)]
    for statement in ("CREATE TABLE mine (a int)", "DELETE FROM job_definition", "SELECT * FROM reader_namespace"):
        with pytest.raises(errors.InsufficientPrivilege):
            site.read("scheduledjobs_runtime", statement)


def test_a_database_with_roles_is_restored_on_a_new_server(site: Site) -> None:
    site.lose()
    site.run(commands("### With roles")[1])
    is_as_before(site)


def test_a_database_with_roles_is_restored_where_the_roles_are_still_there(site: Site) -> None:
    site.run(commands("### With roles")[1])
    is_as_before(site)


def test_a_database_with_roles_is_restored_without_a_dump_of_the_roles(site: Site) -> None:
    site.lose()
    site.run(commands("### With roles")[2])
    site.set_passwords()
    is_as_before(site)


def test_the_runtime_cannot_make_the_backup(site: Site) -> None:
    """Which is why the page has the migrator do it."""
    with pytest.raises(AssertionError, match="permission denied for table reader_namespace"):
        site.run('pg_dump --format=custom --file=other.dump "$SCHEDULEDJOBS_DATABASE_URL"')


def test_the_command_restored_is_run_in_a_pod_like_the_operators(
    cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    """The API server, which enforces the strictest standard, takes the pod that the page asks for."""
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    chart = str(ROOT / "charts/scheduledjobs")
    values = ["database.existingSecret=runtime", "operator.retentionDays=9"]
    words = [part for value in values for part in ("--set", value)]
    command = [str(program(HELM4)), "template", "scheduledjobs", chart, "-n", namespace, *words]
    items = yaml.safe_load_all(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    (deployment,) = [item for item in items if item and item["kind"] == "Deployment"]
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(deployment))
    (script,) = [text for text in commands("## Restore the database") if "kubectl -n scheduledjobs run" in text]
    assert "--rm -i" in script
    script = script.replace("--rm -i", "--dry-run=server -o json").replace("-n scheduledjobs", f"-n {namespace}")
    made = json.loads(run(f'kubectl() {{ {kubectl()} --kubeconfig={cluster.kubeconfig} "$@"; }}\n{script}', tmp_path))
    (container,) = made["spec"]["containers"]
    of = deployment["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], container["args"]) == (of["image"], ["restored"])
    environment = {each["name"]: each for each in container["env"]}
    assert environment["SCHEDULEDJOBS_DATABASE_URL"]["valueFrom"]["secretKeyRef"]["name"] == "runtime"
    assert environment["SCHEDULEDJOBS_RETENTION_DAYS"]["value"] == "9"
    assert made["spec"]["restartPolicy"] == "Never"
