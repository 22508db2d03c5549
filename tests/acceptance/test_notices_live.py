"""Notices of real replicas, to webhooks on loopback: one message an outage, through hangs, refusals and a take-over."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.conftest import create, job, until


class Hooks:
    """A server of webhooks: /NAME answers as `answers[NAME]` says, a list of statuses of which the last one stays."""

    def __init__(self) -> None:
        self.answers: dict[str, list[int]] = {}
        self.hanging = threading.Event()
        self.got: list[tuple[str, float, int, dict[str, Any]]] = []
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                name = self.path.strip("/")
                answers = hooks.answers.setdefault(name, [200])
                status = answers.pop(0) if len(answers) > 1 else answers[0]
                hooks.got.append((name, time.monotonic(), status, body))
                if not status:  # it hangs
                    hooks.hanging.wait(120)
                    return
                self.send_response(status)
                if status == 429:
                    self.send_header("Retry-After", "3")
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{name}"

    def arrived(self, name: str) -> list[dict[str, Any]]:
        return [body for to, _, status, body in self.got if to == name and status == 200]

    def settings(self, namespace: str, webhooks: dict[str, str], *, every: str = "5s", **more: str) -> dict[str, str]:
        """Settings with a webhook for each name, in this form; each is told of all failures and recoveries."""
        pace = {"collect": more.pop("collect", "0s"), "every": every}
        given = {
            name: {"url": self.url(name), "format": form, "namespaces": [namespace], **pace}
            for name, form in webhooks.items()
        }
        rules = [{"webhook": name, "namespaces": [namespace]} for name in webhooks]
        connections = {"own": {"namespaces": [namespace]}}
        return {
            "webhooks": json.dumps(given),
            "notices": json.dumps(rules),
            "sql_connections": json.dumps(connections),
            "public_url": "https://jobs.example",
            **more,
        }


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    found = Hooks()
    yield found
    found.hanging.set()
    found.server.shutdown()
    found.server.server_close()


def moment(seconds: float) -> str:
    """So many seconds from now, as a manifest says it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")


@pytest.mark.timeout(280)
def test_an_outage_of_500_jobs_is_one_message_and_so_is_its_end(
    replicas: Any, hooks: Hooks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(replicas.cluster.kubeconfig))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "frail.py").write_text(FRAIL.format(mended=tmp_path / "mended"))
    hooks.answers["stuck"] = [0]
    hooks.answers["broken"] = [500, 302, 429, 200]
    forms = {"ops": "slack", "machine": "cloudevents", "stuck": "slack", "broken": "slack"}
    settings = hooks.settings(replicas.namespace, forms, collect="25s")
    replicas.start("one", slots="50", handlers="frail", **settings)
    replicas.wait_leader(seconds=60)
    begin, end = moment(30), moment(30 + 61)
    spec = {"fixedRate": "60s", "startTime": begin, "endTime": end, "handler": "frail"}
    asyncio.run(create(replicas.namespace, [job(f"job-{n}", **spec) for n in range(500)]))
    until(lambda: replicas.row(FAILED)["n"] == 500, 75)
    (tmp_path / "mended").touch()
    (text,) = [body["text"] for body in until(lambda: hooks.arrived("ops"), 40)]
    assert text.splitlines()[0] == f"*500 executions failed* ({replicas.namespace} 500)"
    assert text.splitlines()[-1] == "and 490 others"
    assert "the server of reports is down" in text
    assert "<https://jobs.example/ui/executions/" in text
    (event,) = until(lambda: hooks.arrived("machine"), 10)
    assert event["data"]["failure"]["count"] == 500
    until(lambda: hooks.arrived("broken"), 60)
    assert [status for name, _, status, _ in hooks.got if name == "broken"][:4] == [500, 302, 429, 200]
    times = [at for name, at, _, _ in hooks.got if name == "broken"]
    assert times[3] - times[2] >= 3, "it asked for three seconds"
    until(lambda: hooks.arrived("ops")[1:], 120)
    (again,) = [body["text"] for body in hooks.arrived("ops")[1:]]
    assert again.splitlines()[0] == f"*500 recoveries* ({replicas.namespace} 500)"
    assert hooks.arrived("stuck") == []
    late = replicas.row("SELECT max(lateness_ms) AS ms FROM job_execution_log")["ms"]
    with capsys.disabled():
        print(
            f"\n500 jobs failed and worked again: one message each; the latest start {late} ms late, a webhook hanging"
        )


FAILED = "SELECT count(*) AS n FROM job_execution_log WHERE state IN ('FAILED', 'TIMED_OUT', 'LOST')"


FRAIL = """
from pathlib import Path
from pydantic import BaseModel
from scheduledjobs.handlers import handler

class Nothing(BaseModel):
    pass

@handler("frail", payload=Nothing)
async def frail(execution, payload):
    if not Path("{mended}").exists():
        raise RuntimeError("the server of reports is down")
"""


@pytest.mark.timeout(240)
def test_leaders_that_are_killed_lose_no_notice_and_tell_none_in_two_messages(
    replicas: Any, hooks: Hooks, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(replicas.cluster.kubeconfig))
    settings = hooks.settings(replicas.namespace, {"machine": "cloudevents"}, collect="1s", every="2s")
    hooks.answers["machine"] = [503, 200]
    for name in ("a", "b", "c"):
        replicas.start(name, **settings)
    replicas.wait_leader(seconds=60)
    payload = {"connection": "own", "statement": "SELECT 1 / 0 FROM pg_sleep(0.3)"}
    spec = {"fixedRate": "1s", "startTime": moment(6), "endTime": moment(36), "handler": "sql", "payload": payload}
    asyncio.run(create(replicas.namespace, [job(f"job-{n}", **spec, concurrencyPolicy="Allow") for n in range(10)]))
    until(lambda: replicas.row(FAILED)["n"] > 20, 40)
    for _ in range(2):
        leader = replicas.wait_leader(seconds=60)
        replicas.signal(leader, signal.SIGKILL)
        replicas.wait_leader(other_than=leader, seconds=60)
        time.sleep(3)
    until(lambda: replicas.row("SELECT count(*) AS n FROM job_definition WHERE state = 'COMPLETED'")["n"] == 10, 60)
    until(lambda: replicas.row(OPEN)["n"] == 0, 60)
    until(lambda: replicas.row(UNTOLD)["n"] == 0, 60)
    until(lambda: told(hooks) >= replicas.row(FAILED)["n"], 30)
    rows, resent = replicas.row(FAILED)["n"], len(hooks.arrived("machine")) - len(messages(hooks))
    with capsys.disabled():
        print(f"\n2 leaders killed: {rows} failures in {len(messages(hooks))} messages, {resent} of them sent again")
    assert told(hooks) == rows


OPEN = "SELECT count(*) AS n FROM job_execution_log WHERE state IN ('PENDING', 'RUNNING')"
UNTOLD = """
SELECT count(*) AS n FROM job_execution_log AS e
WHERE e.state IN ('FAILED', 'LOST') AND NOT EXISTS (
    SELECT FROM notice AS n JOIN notice_message AS m ON m.id = n.message_id
    WHERE n.execution_id = e.id AND m.result = 'SENT'
)
"""


def messages(hooks: Hooks) -> dict[str, int]:
    """How many failures each message that arrived tells of, by its id."""
    return {body["id"]: body["data"]["failure"]["count"] for body in hooks.arrived("machine")}


def told(hooks: Hooks) -> int:
    return sum(messages(hooks).values())


def events_of(replicas: Any) -> list[dict[str, Any]]:
    shown = replicas.cluster.kubectl("get", "events.events.k8s.io", "-n", replicas.namespace, "-o", "json").stdout
    found: list[dict[str, Any]] = json.loads(shown)["items"]
    return found


def test_a_job_names_its_webhook_and_is_told_where_it_cannot(replicas: Any, hooks: Hooks) -> None:
    settings = hooks.settings(replicas.namespace, {"team": "slack", "others": "slack"}, collect="0s")
    settings["notices"] = "[]"
    given = json.loads(settings["webhooks"])
    given["others"]["namespaces"] = ["elsewhere"]
    replicas.start("one", **{**settings, "webhooks": json.dumps(given)})
    replicas.wait_leader(seconds=60)
    payload = {"connection": "own", "statement": "SELECT 1 / 0"}
    for name, webhook in (("heard", "team"), ("refused", "others"), ("silent", "")):
        replicas.apply(name, fixedRate="1h", handler="sql", payload=payload)
        kubectl = (replicas.cluster.kubectl, "annotate", "-n", replicas.namespace, "scheduledjob", name)
        if webhook:
            kubectl[0](*kubectl[1:], f"scheduledjobs.dev/notify={webhook}")
        until(lambda name=name: replicas.get(name).get("status", {}).get("conditions"))
        kubectl[0](*kubectl[1:], "scheduledjobs.dev/run-now=1")
    until(lambda: replicas.row(FAILED)["n"] == 3)
    until(lambda: hooks.arrived("team"))
    assert [body["text"].split(",")[0] for body in hooks.arrived("team")] == [f"*Failed:* {replicas.namespace}/heard"]
    events = until(lambda: [one for one in events_of(replicas) if one["reason"] == "InvalidNotify"])
    assert {one["regarding"]["name"] for one in events} == {"refused"}
    assert "unknown webhook 'others' in namespace" in events[0]["note"]
    assert hooks.arrived("others") == []


@pytest.mark.parametrize(("status", "code", "said"), [(200, 0, "answered 200"), (404, 1, "it answered 404")])
def test_the_command_line_tries_a_webhook(hooks: Hooks, status: int, code: int, said: str) -> None:
    hooks.answers["ops"] = [status]
    settings = hooks.settings("default", {"ops": "slack"}, database_url="postgresql://localhost/none")
    environment = {f"SCHEDULEDJOBS_{key.upper()}": value for key, value in settings.items()}
    done = subprocess.run(
        [sys.executable, "-m", "scheduledjobs", "notices", "test", "ops"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True)
    assert "127.0.0.1" not in done.stdout + done.stderr
    assert "This is a test" in hooks.got[0][3]["text"]
