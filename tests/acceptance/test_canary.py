"""No secret is seen: a canary in every place that holds one, handlers that succeed and fail with it, and a search."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dev.postgres import Postgres
from dev.processes import free_port
from tests.acceptance.canary import BEGIN, Search, secret
from tests.acceptance.collector import Server, serving
from tests.acceptance.conftest import Replicas, until
from tests.acceptance.rest import start_site

LEAKY = '''
import asyncio, logging
from scheduledjobs.handlers import handler
from scheduledjobs.handlers.credentials import credentials

@handler("leaky")
async def leaky(execution, payload):
    """Says a credential in every way that job code has."""
    token = await asyncio.to_thread(credentials.find("plain", execution.namespace).read, "token")
    execution.logger.info("the token is %s", token)
    logging.getLogger("another").error("Bearer " + token)
    await asyncio.sleep(getattr(payload, "seconds", 0))
    if getattr(payload, "fails", False):
        try:
            raise KeyError(token)
        except KeyError as error:
            raise RuntimeError("x" * 490 + token) from error
    return {"token": token, token: [token]}
'''
PLANTED = '''
import subprocess, sys
from scheduledjobs.handlers import handler

@handler("c4n4ry")
def planted(execution, payload):
    """Leaves a canary where no credential is involved, so nothing hides it."""
    print("c4n4ry", file=sys.stderr, flush=True)
    subprocess.Popen(["sh", "-c", "sleep 60; : c4n4ry"])
    return "c4n4ry"
'''


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent, as a careless server does: in body, reason and Location."""

    def do_GET(self) -> None:
        sent = self.headers.get("Authorization", "") + self.headers.get("X-Api-Key", "")
        body = json.dumps({"you": sent, "padding": "x" * 100}).encode()
        self.send_response(int(self.path.strip("/")), f"Sent {sent}")
        self.send_header("Location", f"http://169.254.169.254/?{sent}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Refuse a notice, and say where it was sent to."""
        self.rfile.read(int(self.headers["Content-Length"]))
        body = self.path.encode()
        self.send_response(503, f"Sent to {self.path}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def echo() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        yield found


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def user_with(server: Postgres, password: str) -> str:
    """Make a user with this password; return its name."""
    name = f"user_{secret()[6:14]}"
    with psycopg.connect(server.url, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD '{password}'".encode())
    return name


def address(url: str, user: str, password: str, port: int | None = None) -> str:
    """Return the address of the same database, for another user."""
    place = url.rpartition("@")[2]
    host, _, name = place.partition("/")
    return f"postgresql://{user}:{password}@{host if port is None else f'127.0.0.1:{port}'}/{name}"


def connections(server: Postgres, url: str, folder: Path) -> dict[str, Any]:
    """Connections that work and that do not, each with a password of its own."""
    good, filed = secret(), secret()
    (folder / "uri").write_text(address(url, user_with(server, filed), filed))
    everybody = {"namespaces": ["*"]}
    return {
        "own": everybody,
        "good": {"url": address(url, user_with(server, good), good), **everybody},
        "wrong": {"url": address(url, "scheduledjobs", secret()), **everybody},
        "gone": {"url": address(url, "scheduledjobs", secret(), closed_port()), **everybody},
        "filed": {"url_file": str(folder / "uri"), **everybody},
    }


def given(folder: Path, *ports: int) -> dict[str, Any]:
    """Credentials of every form."""
    forms = {
        "plain": {"token": secret()},
        "basic": {"username": "ana", "password": secret('"\\ &é')},
        "keyed": {"header.X-Api-Key": secret("<'/+")},
        "empty": {"token": "", "other": secret()},
        "broken": {"token": f"{secret()}\nX-Forged: {secret()}"},
    }
    for name, keys in forms.items():
        (folder / name).mkdir()
        for key, value in keys.items():
            (folder / name / key).write_text(value)
    hosts = [f"http://127.0.0.1:{port}" for port in ports]
    return {name: {"namespaces": ["*"], "path": str(folder / name), "hosts": hosts} for name in forms}


def webhooks(folder: Path, echo: int, closed: int) -> dict[str, Any]:
    """Webhooks that refuse, that are not there, and whose address is in a file."""
    (folder / "hook").write_text(f"http://ana:{secret()}@127.0.0.1:{echo}/{secret()}?key={secret()}")
    common = {"namespaces": ["*"], "collect": "1s"}
    return {
        "refuses": {"url": f"http://127.0.0.1:{echo}/{secret()}", "format": "slack", **common},
        "gone": {"url": f"http://127.0.0.1:{closed}/{secret()}", "format": "cloudevents", **common},
        "filed": {"url_file": str(folder / "hook"), "format": "slack", **common},
    }


def jobs(echo: int, closed: int) -> dict[str, dict[str, Any]]:
    """What is run, by the name of its job: a handler that takes secrets belongs here, in success and in failure."""
    found = {
        f"http-{name}-{status}": {
            "handler": "http",
            "payload": {"url": f"http://127.0.0.1:{echo}/{status}", "credential": name},
        }
        for name in ("plain", "basic", "keyed", "empty", "broken")
        for status in (200, 302, 404, 503)
    }
    refused = {"url": f"http://127.0.0.1:{closed}/", "credential": "plain"}
    found["http-refused"] = {"handler": "http", "payload": refused, "retry": {"limit": 1, "backoff": "100ms"}}
    for name in ("own", "good", "wrong", "gone", "filed"):
        for kind, statement in (("good", "SELECT 1 AS one"), ("bad", "SELECT no_such_column")):
            payload = {"connection": name, "statement": statement}
            found[f"sql-{name}-{kind}"] = {"handler": "sql", "payload": payload}
    found["leaky"] = {"handler": "leaky", "payload": {"seconds": 3}}
    found["leaky-fails"] = {"handler": "leaky", "payload": {"fails": True}, "retry": {"limit": 1, "backoff": "100ms"}}
    return found


SUCCEED = {*(f"http-{name}-200" for name in ("plain", "basic", "keyed")), "leaky"}
SUCCEED |= {f"sql-{name}-good" for name in ("own", "good", "filed")}


@pytest.fixture
def search(
    replicas: Replicas,
    postgres_server: Postgres,
    echo: int,
    collector: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Search:
    """Two replicas, at their most talkative, that were given a canary wherever a secret may be."""
    closed = closed_port()
    password = secret()
    replicas.url = address(replicas.url, user_with(postgres_server, password), password)
    folder = tmp_path / "keys"
    folder.mkdir()
    (tmp_path / "leaky_handlers.py").write_text(LEAKY)
    (tmp_path / "planted_handlers.py").write_text(PLANTED)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    )
    settings = {
        "sql_connections": json.dumps(connections(postgres_server, replicas.url, folder)),
        "credentials": json.dumps(given(folder, echo, closed)),
        "webhooks": json.dumps(webhooks(folder, echo, closed)),
        "notices": json.dumps([{"webhook": name, "on": ["failure"]} for name in ("refuses", "gone", "filed")]),
        "handlers": "leaky_handlers",
        "http_allow": "127.0.0.0/8",
        "log_level": "debug",
    }
    theirs = f"{replicas.namespace}-theirs"
    replicas.cluster.kubectl("create", "namespace", theirs)
    ports = [free_port(), free_port()]
    site = start_site(replicas, theirs, **settings, metrics_port=str(ports[0]))
    replicas.start("two", **settings, metrics_port=str(ports[1]), log_format="console")
    until(lambda: replicas.row("SELECT count(*) AS n FROM scheduler_instance WHERE dead_at IS NULL")["n"] == 2, 30)
    found = Search(site, ports, postgres_server.log, collector)
    found.needles += [token.rpartition(".")[2] for token in site.tokens.values()]
    for name, spec in jobs(echo, closed).items():
        site.run(site.create(name, **spec))
    until(lambda: replicas.row(OPEN)["n"] == 0, 90)
    until(lambda: replicas.row(UNSENT)["n"] == 3, 30)
    until(lambda: traced(found) >= {str(row["id"]) for row in replicas.rows(RAN)}, 30)
    return found


def traced(search: Search) -> set[str]:
    """Return the executions that have a span."""
    return {attributes.get("faas.invocation_id", "") for _, attributes in search.collector.spans()}


RAN = "SELECT id FROM job_execution_log WHERE started_at IS NOT NULL"
STATE = "SELECT state FROM job_definition WHERE name = 'planted'"
UNSENT = "SELECT count(DISTINCT webhook) AS n FROM notice_message WHERE error IS NOT NULL"
OPEN = "SELECT count(*) AS n FROM job_execution_log WHERE state IN ('PENDING', 'RUNNING')"


@pytest.mark.timeout(300)
def test_no_secret_is_seen_anywhere_and_the_search_would_see_it(search: Search) -> None:
    site = search.site
    rows = site.replicas.rows("SELECT job_name, state, message FROM job_execution_log")
    assert {row["job_name"] for row in rows if row["state"] == "SUCCEEDED"} == SUCCEED, rows
    masked = {row["job_name"] for row in rows if "***" in (row["message"] or "")}
    assert {"http-plain-404", "http-basic-404", "http-keyed-404", "http-plain-302", "leaky-fails"} <= masked
    told = {row["job_name"]: row["message"] for row in rows}
    assert "credential 'empty': the key 'token' is empty" in told["http-empty-200"]
    assert "credential 'broken': the key 'token' must be one line" in told["http-broken-200"]
    assert search.found() == {}

    search.metrics_ports.append(free_port())
    site.replicas.start("three", handlers="planted_handlers", metrics_port=str(search.metrics_ports[-1]))
    site.replicas.apply("planted", fixedRate="1h", handler=BEGIN, payload={"seen": BEGIN})
    until(lambda: [row["state"] for row in site.replicas.rows(STATE)] == ["ACTIVE"], 60)
    site.run({"id": f"{site.ours}.planted"})
    until(lambda: site.replicas.row(OPEN)["n"] == 0, 30)
    until(lambda: traced(search) >= {str(row["id"]) for row in site.replicas.rows(RAN)}, 30)
    found = search.found()
    assert {"traces", "logs", "tables", "resources", "metrics", "rest", "pages", "processes"} <= found.keys()
    assert {"job_definition", "job_definition_version"} <= found["tables"]
