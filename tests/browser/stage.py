"""Three replicas that serve the dashboard, jobs of every state, and somebody who may edit them, with a browser."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from dev.controlplane import ControlPlane
from dev.postgres import Postgres
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page
from tests.acceptance.conftest import Replicas, until
from tests.browser import seed

NAMES = ("scheduledjobs-a", "scheduledjobs-b", "scheduledjobs-c")
VERBS = "get,list,watch,create,update,patch,delete"
PATIENT = 60_000
"""Milliseconds that a page may take: the machine may be busy with other work."""

Cookies = list[dict[str, Any]]


@dataclass
class Stage:
    """The replicas, where each serves, and the token of ana, who may edit in both namespaces."""

    replicas: Replicas
    server: Postgres
    token: str = ""
    ports: dict[str, int] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start a replica and learn its port from its log."""
        watched = f"{seed.FINANCE},{seed.SHOP}"
        log = self.replicas.folder / f"{name}.log"
        known = log.stat().st_size if log.exists() else 0
        self.replicas.start(name, web="true", auth="token", watch_namespaces=watched, drain_seconds="0")
        self.ports[name] = until(lambda: _port(log, known), PATIENT / 1000)

    def url(self, path: str = "/ui/", replica: str = NAMES[0]) -> str:
        """Return an address of a page."""
        return f"http://127.0.0.1:{self.ports[replica]}{path}"

    def kill(self, name: str) -> None:
        """Kill a replica."""
        self.replicas.signal(name, signal.SIGKILL)
        self.replicas.processes[name].wait()

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """Run kubectl as the cluster's admin."""
        return self.replicas.cluster.kubectl(*words, stdin=stdin).stdout

    def run(self, job: str, *states: str) -> int:
        """Return the id of the newest execution of a job that is in one of the states, once there is one."""
        found = "FROM job_execution_log WHERE job_name = %s AND state = ANY(%s)"
        query = f"SELECT id {found} ORDER BY fire_time DESC, id LIMIT 1"
        rows = until(lambda: self.replicas.rows(query, job, list(states)), PATIENT / 1000)
        return int(rows[0]["id"])

    def uid(self, job: str) -> str:
        """Return the uid of a job."""
        return str(self.replicas.row("SELECT id FROM job_definition WHERE name = %s", job)["id"])


def _port(log: Path, begin: int) -> int | None:
    for line in log.read_bytes()[begin:].splitlines():
        if b"serving REST and the dashboard" in line:
            return int(json.loads(line)["port"])
    return None


@contextmanager
def open_stage(cluster: ControlPlane, server: Postgres, folder: Path) -> Iterator[Stage]:
    """Lend the stage, seeded, with every replica ready."""
    for namespace in (seed.FINANCE, seed.SHOP):
        cluster.kubectl("create", "namespace", namespace)
    with psycopg.connect(server.url, autocommit=True) as conn:
        conn.execute(b"CREATE DATABASE stage TEMPLATE template")
    replicas = Replicas(cluster, seed.FINANCE, server.url.rsplit("/", 1)[0] + "/stage", folder)
    stage = Stage(replicas, server)
    try:
        for name in NAMES:
            stage.start(name)
        replicas.wait_leader(seconds=PATIENT / 1000)
        stage.token = _hire(cluster, "ana")
        seed.apply(cluster)
        count = len(list(seed.jobs(datetime.now(UTC))))
        until(lambda: len(replicas.rows("SELECT FROM job_definition")) == count, PATIENT / 1000)
        seed.act(cluster)
        seed.fill(replicas.url, datetime.now(UTC))
        yield stage
    finally:
        replicas.stop()
        print(replicas.logs())


def _hire(cluster: ControlPlane, name: str) -> str:
    """Return the token of somebody new, who may edit jobs in both namespaces."""
    kubectl, home = cluster.kubectl, ("-n", seed.FINANCE)
    kubectl("create", "serviceaccount", name, *home)
    for namespace in (seed.FINANCE, seed.SHOP):
        here = ("-n", namespace)
        kubectl("create", "role", name, f"--verb={VERBS}", "--resource=scheduledjobs.scheduledjobs.dev", *here)
        kubectl("create", "rolebinding", name, f"--role={name}", f"--serviceaccount={seed.FINANCE}:{name}", *here)
    return kubectl("create", "token", name, *home).stdout.strip()


def short_lived(cluster: ControlPlane, token: str, seconds: float) -> str:
    """Return a token as the API server gave it, signed to count for so many seconds more: it allows for a minute."""
    header, claims, _ = token.split(".")
    found = json.loads(base64.urlsafe_b64decode(claims + "=="))
    now = int(time.time())
    found |= {"iat": now - 3600, "nbf": now - 3600, "exp": now - 60 + int(seconds)}
    text = f"{header}.{_encoded(json.dumps(found).encode())}"
    command = ["openssl", "dgst", "-sha256", "-sign", str(cluster.folder / "pki" / "sa.key")]
    return f"{text}.{_encoded(subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout)}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@dataclass
class Visitor:
    """Somebody at a browser; what the browser complains of is kept: dialogs, errors of scripts, refusals by policy."""

    stage: Stage
    context: BrowserContext
    page: Page
    has_script: bool
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str, replica: str = NAMES[0]) -> Page:
        """Open a page."""
        self.page.goto(self.stage.url(path, replica))
        return self.page

    def sign_in(self, token: str | None = None) -> None:
        """Sign in on the page where one is sent."""
        self.page.get_by_label("Token").fill(token or self.stage.token)
        self.page.get_by_role("button", name="Sign in").click()

    def sees(self, text: str) -> None:
        """Wait until the page says something: by itself, or by a reload where there is no JavaScript."""
        if self.has_script:
            self.page.locator("main").get_by_text(text).first.wait_for(timeout=PATIENT)
            return
        self.reload_until(lambda: text in self.page.locator("main").inner_text())

    def reload_until(self, is_so: Callable[[], bool]) -> None:
        """Load the page again and again until something is so."""

        def look() -> bool:
            if is_so():
                return True
            self.page.reload()
            return False

        until(look, PATIENT / 1000, 0.5)

    def forgive(self, status: str) -> None:
        """Forget that the browser noted an answer of this status, which the test asked for."""
        noted = f"the server responded with a status of {status}"
        self.complaints[:] = [each for each in self.complaints if noted not in each]


def new_visitor(stage: Stage, browser: Browser, *, has_script: bool = True, **settings: Any) -> Visitor:
    """Open a browser of somebody who has not signed in."""
    context = browser.new_context(
        java_script_enabled=has_script, reduced_motion="reduce", locale="en-GB", timezone_id="Europe/Berlin", **settings
    )
    context.set_default_timeout(PATIENT)
    visitor = Visitor(stage, context, context.new_page(), has_script)
    page = visitor.page

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            visitor.complaints.append(f"{message.text} ({page.url})")

    def asked(dialog: Any) -> None:
        visitor.complaints.append(f"a dialog: {dialog.message} ({page.url})")
        dialog.dismiss()

    page.on("console", heard)
    page.on("dialog", asked)
    page.on("pageerror", lambda error: visitor.complaints.append(f"{error} ({page.url})"))
    return visitor
