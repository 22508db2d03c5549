"""What an installation does around the operator: the schema comes first, and a smoke test comes last."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import click
import psycopg
import pytest
from dev.controlplane import ControlPlane
from dev.postgres import Postgres
from tests.acceptance.conftest import until

from scheduledjobs.cli import smoke
from scheduledjobs.kube import listing
from scheduledjobs.kube.client import open_client

UNDEFINED = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidCatalogName)


def scheduledjobs(replicas: Any, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "SCHEDULEDJOBS_DATABASE_URL": replicas.url,
        "KUBECONFIG": str(replicas.cluster.kubeconfig),
    }
    command = [sys.executable, "-m", "scheduledjobs", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_waits_for_the_schema_where_somebody_else_makes_it(replicas: Any, postgres_server: Postgres) -> None:
    name = f"empty_{replicas.lease.replace('-', '_')}"
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
    replicas.url = postgres_server.url.rsplit("/", 1)[0] + f"/{name}"
    replicas.start("one", migrate="false")
    until(lambda: "the database has no schema yet: run `scheduledjobs migrate`" in replicas.logs())
    with pytest.raises(UNDEFINED):
        replicas.row("SELECT holder FROM leadership")
    assert scheduledjobs(replicas, "migrate").returncode == 0
    assert replicas.wait_leader() == "one"
    replicas.stop()
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_smoke_follows_a_job_from_its_manifest_to_its_row(replicas: Any) -> None:
    replicas.start("one")
    replicas.wait_leader()
    done = scheduledjobs(replicas, "smoke", "--namespace", replicas.namespace)
    assert done.returncode == 0, done.stderr
    made, status, row, deleted = done.stdout.splitlines()
    assert made.startswith(f"made {replicas.namespace}/smoke-")
    assert status == "its status says Succeeded, run by one"
    assert "SUCCEEDED" in row
    assert deleted.startswith("deleted ")


def test_smoke_says_what_is_missing_where_no_operator_runs(replicas: Any) -> None:
    done = scheduledjobs(replicas, "smoke", "--namespace", replicas.namespace, "--wait", "0.5")
    assert done.returncode == 1
    assert "no operator has seen it" in done.stderr
    assert replicas.cluster.kubectl("get", "sjob", "-n", replicas.namespace, "-o", "name").stdout == ""


def test_smoke_says_what_the_api_server_says_of_a_namespace_that_is_not_there(replicas: Any) -> None:
    done = scheduledjobs(replicas, "smoke", "--namespace", "tpyo")
    assert done.returncode == 1
    assert 'namespaces "tpyo" not found' in done.stderr
    assert "install the CRD" not in done.stderr


async def test_smoke_says_that_the_crd_is_missing_where_the_api_server_does_not_serve_it(
    cluster: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    for module in (listing, smoke):
        monkeypatch.setattr(module, "COLLECTION", "/apis/nobody.example/v1")
    async with open_client() as kube:
        with pytest.raises(click.ClickException, match="install the CRD"):
            await smoke._make(kube, "default", "smoke-1")
