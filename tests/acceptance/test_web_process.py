"""The web process of a replica: it comes back, it never outlives its replica, and it is told what has changed."""

from __future__ import annotations

import os
import signal
import socket
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import psutil
import psycopg
from dev.processes import free_port
from tests.acceptance.conftest import Replicas, until
from tests.acceptance.rest import Rest


def started(replicas: Replicas, **settings: str) -> Rest:
    """Start a replica that serves pages to everybody on loopback; return its REST once it answers."""
    rest = Rest(free_port())
    replicas.start("one", web="true", auth="none", port=str(rest.port), **settings)
    until(rest.answers, 30)
    return rest


def web_of(replicas: Replicas) -> psutil.Process:
    """The web process of the replica."""
    children = psutil.Process(replicas.processes["one"].pid).children()
    (found,) = [child for child in children if "scheduledjobs.web" in child.cmdline()]
    return found


def test_a_web_process_that_ends_begins_again_and_who_calls_meanwhile_is_answered(replicas: Replicas) -> None:
    rest = started(replicas)
    replicas.wait_leader()
    replicas.apply("every-second", fixedRate="1s", handler="log")
    until(lambda: replicas.row("SELECT count(*) AS n FROM job_execution_log")["n"] >= 2, 20)
    before = web_of(replicas)
    before.kill()
    assert rest.get("/jobs", seconds=30).status == 200  # it waited in the socket, which stayed open
    assert web_of(replicas).pid != before.pid
    assert "the process of REST and pages ended: it begins again" in replicas.logs()
    late = replicas.row("SELECT max(lateness_ms) AS ms, count(*) AS n FROM job_execution_log WHERE attempt = 1")
    assert late["n"] >= 2
    assert replicas.processes["one"].poll() is None


def test_a_web_process_does_not_outlive_a_replica_that_is_killed(replicas: Replicas) -> None:
    started(replicas)
    web = web_of(replicas)
    replicas.signal("one", signal.SIGKILL)
    replicas.processes["one"].wait(10)
    until(lambda: not web.is_running() or web.status() == psutil.STATUS_ZOMBIE, 10)


def test_a_web_process_is_nicer_than_its_replica_and_has_few_sessions(replicas: Replicas) -> None:
    rest = started(replicas)
    assert rest.get("/jobs").status == 200
    assert web_of(replicas).nice() > psutil.Process(replicas.processes["one"].pid).nice()
    sessions = replicas.row("SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'scheduledjobs web'")
    assert 1 <= sessions["n"] <= 4


def test_connections_that_say_nothing_lock_nobody_out(replicas: Replicas) -> None:
    rest = started(replicas)
    with ExitStack() as stack:
        for _ in range(256):
            stack.enter_context(socket.create_connection(("127.0.0.1", rest.port)))
        until(lambda: rest.get("/openapi.json").status == 200, 5)


def test_every_page_of_a_cluster_without_a_job_is_shown(replicas: Replicas) -> None:
    rest = started(replicas)
    replicas.wait_leader()
    paths = [
        "/ui/",
        "/ui/jobs",
        "/ui/timeline",
        "/ui/cluster",
        "/ui/new",
        "/ui/help",
        "/api/docs",
        "/jobs",
        "/replicas",
    ]
    assert {path: rest.get(path).status for path in paths} == dict.fromkeys(paths, 200)
    assert b"No job yet" in rest.get("/ui/jobs").body


def test_a_page_is_made_anew_as_soon_as_the_replica_hears_of_a_change(replicas: Replicas) -> None:
    rest = started(replicas)
    replicas.wait_leader()
    time.sleep(1.5)  # what the start changed has been told
    tag = rest.get("/ui/jobs").headers["etag"]
    until(lambda: rest.get("/ui/jobs").headers["etag"] != tag, 15)  # a slot of time begins: it lasts ten seconds
    tag = rest.get("/ui/jobs").headers["etag"]
    assert rest.get("/ui/jobs", if_none_match=tag).status == 304
    with psycopg.connect(replicas.url, autocommit=True) as conn:
        conn.execute("NOTIFY scheduledjobs_changed")
    until(lambda: rest.get("/ui/jobs", if_none_match=tag).status == 200, 4)


def test_what_modules_with_handlers_print_does_not_keep_it_from_serving(replicas: Replicas, tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text('print("loud" * 50_000)\n')
    os.environ["PYTHONPATH"], before = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}", os.environ.get("PYTHONPATH")
    metrics = free_port()
    try:
        started(replicas, handlers="loud", metrics_port=str(metrics))
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    replicas.wait_leader()

    def is_ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError:
            return False

    until(is_ready, 20)
