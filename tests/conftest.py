"""Real servers for the tests: one PostgreSQL and one API server a session, a database and a namespace a test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from shutil import rmtree
from typing import Any

import hypothesis
import psycopg
import pytest
from dev.cluster import forget_shell
from dev.controlplane import ControlPlane
from dev.postgres import Postgres, new_folder, new_postgres
from dev.processes import end_as_on_ctrl_c

from scheduledjobs.store.migrate import migrate

IS_E2E = bool(os.environ.get("SCHEDULEDJOBS_E2E"))
IS_FAULTS = bool(os.environ.get("SCHEDULEDJOBS_FAULTS"))
IS_BROWSER = bool(os.environ.get("SCHEDULEDJOBS_BROWSER"))
IS_RUN = {"e2e": IS_E2E, "faults": IS_FAULTS, "browser": IS_BROWSER}
collect_ignore = [name for name, is_run in IS_RUN.items() if not is_run]
"""The end-to-end tests need a node, the fault scenarios most of an hour, the browser tests Chromium: `make e2e`,
`make faults` and `make browser` run them."""

numbers = count(1)

FAREWELL_SECONDS = 2.0

hypothesis.settings.register_profile("any machine", deadline=None)  # how long an example takes says nothing of the rule
hypothesis.settings.load_profile("any machine")


def pytest_configure() -> None:
    """Touch no cluster or database that the shell points at, and stop the servers at SIGTERM too.

    The end-to-end tests use the shell's cluster if they are asked to, and forget the shell then.
    """
    if not IS_E2E:
        for name in ("CLUSTER", "DATABASE"):
            os.environ.pop(name, None)
        forget_shell()
    end_as_on_ctrl_c()


class PatientLoop(asyncio.SelectorEventLoop):
    """A loop that ends after its connections: a request that is cancelled says farewell by TLS, and a server answers
    that when it comes to it. What was never closed is open after the wait too, and warned of as ever."""

    _transports: Mapping[int, Any]

    def close(self) -> None:
        """Give what is being closed its time, then close."""
        last = self.time() + FAREWELL_SECONDS
        while not self.is_closed() and self.time() < last and any(map(_is_open, list(self._transports.values()))):
            self.run_until_complete(asyncio.sleep(0.005))
        super().close()


def _is_open(transport: Any) -> bool:
    return transport._sock is not None


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Have every asynchronous test run on such a loop."""
    return {"patient": PatientLoop}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A server whose template database has the schema."""
    # Not in pytest's folder: every run closes that to other users, and PostgreSQL does not run as root.
    folder = new_folder("scheduledjobs-postgres-")
    server = new_postgres(folder / "server")
    try:
        server.start()
        _create(server, "template", "template1")
        asyncio.run(migrate(_url(server, "template")))
        yield server
    finally:
        server.stop()
        rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(postgres_server: Postgres) -> Iterator[str]:
    """The URL of an empty database with the schema."""
    with new_database(postgres_server) as url:
        yield url


@contextmanager
def new_database(server: Postgres) -> Iterator[str]:
    """Lend an empty database with the schema, by its URL."""
    name = f"test_{next(numbers)}"
    _create(server, name, "template")
    yield _url(server, name)
    with psycopg.connect(server.url, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _create(server: Postgres, name: str, template: str) -> None:
    with psycopg.connect(server.url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {template}")


def _url(server: Postgres, name: str) -> str:
    return server.url.rsplit("/", 1)[0] + f"/{name}"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with the CRD."""
    plane = ControlPlane(tmp_path_factory.mktemp("controlplane"))
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()


@pytest.fixture
def namespace(cluster: ControlPlane) -> Iterator[str]:
    """A fresh namespace."""
    name = f"test-{next(numbers)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "scheduledjobs", "--all", "-n", name, "--wait=false")


@pytest.fixture
def examples() -> Path:
    """The folder examples/."""
    return Path(__file__).parents[1] / "examples"
