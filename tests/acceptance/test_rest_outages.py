"""REST while something is away: each call says so within seconds, and works again when it is back."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from shutil import rmtree

import pytest
from dev.controlplane import ControlPlane
from dev.postgres import Postgres, new_folder, new_postgres
from dev.processes import free_port
from tests.acceptance.conftest import until
from tests.acceptance.rest import Answer, Rest, Site, open_site
from tests.conftest import _create, _url

from scheduledjobs.store.migrate import migrate


@pytest.fixture
async def own_server() -> AsyncIterator[Postgres]:
    """A PostgreSQL of the test's own, which it may stop."""
    folder = new_folder("scheduledjobs-rest-")
    server = new_postgres(folder / "server")
    try:
        server.start()
        _create(server, "template", "template1")
        await migrate(_url(server, "template"))
        yield server
    finally:
        server.stop()
        rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[ControlPlane]:
    """A control plane of the test's own, whose API server it may stop."""
    plane = ControlPlane(tmp_path / "controlplane")
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()


def away(answer: Answer, reason: str) -> None:
    assert (answer.status, answer.reason) == (503, reason)
    assert int(answer.headers["retry-after"]) >= 1


def calls(site: Site, job: str) -> Iterator[tuple[str, Answer, float]]:
    """Make every call; yield its name, its answer and how long that took."""
    body = {"namespace": site.ours, "name": "new", "spec": {"fixedRate": "1h", "handler": "log"}}
    paths = [
        "/jobs",
        f"/jobs/{job}",
        f"/jobs/{job}/logs",
        f"/jobs/{job}/versions",
        f"/jobs/{job}/why?at=2026-01-01T00:00",
    ]
    todo = [("GET", path, None) for path in [*paths, "/executions/1", "/handlers", "/replicas"]]
    todo += [("PUT", f"/jobs/{job}", {"spec": body["spec"]}), ("DELETE", f"/jobs/{job}", None)]
    todo += [
        ("POST", f"/jobs/{job}/{verb}", None if verb != "pause" else {}) for verb in ("pause", "resume", "run-now")
    ]
    todo += [("POST", "/executions/1/cancel", None), ("POST", "/jobs", body)]
    for verb, path, content in todo:
        began = time.monotonic()
        answer = site.rest.call(verb, path, content, seconds=30)
        yield f"{verb} {path}", answer, time.monotonic() - began


def test_postgres_is_away(cluster: ControlPlane, own_server: Postgres, tmp_path: Path) -> None:
    with open_site(cluster, own_server, tmp_path) as site:
        job = site.create("kept")
        site.rest.ended(f"/executions/{site.run(job)['id']}")
        own_server.stop()
        for name, answer, seconds in calls(site, job["id"]):
            print(f"{name}: {answer.status} after {seconds:.2f} s")
            away(answer, "DatabaseUnavailable")
            assert seconds < 10
        assert site.rest.get("/preview?schedule=@daily").status == 200
        assert site.rest.get("/openapi.json").status == 200
        own_server.start()
        until(lambda: site.rest.get(f"/jobs/{job['id']}").status == 200, 30)
        assert site.replicas.get("kept")["metadata"]["generation"] == 1
        until(lambda: site.rest.post(f"/jobs/{job['id']}/run-now", idempotency_key="back").status == 200, 30)
        assert "Traceback" not in site.log


def test_the_api_server_is_away(own_cluster: ControlPlane, postgres_server: Postgres, tmp_path: Path) -> None:
    with open_site(own_cluster, postgres_server, tmp_path) as site:
        job = site.create("kept")
        site.rest.ended(f"/executions/{site.run(job)['id']}")
        assert site.rest.get("/jobs").status == 200  # who calls and what they may see is known from now on
        own_cluster.stop_apiserver(signal.SIGKILL)
        for name, answer, seconds in calls(site, job["id"]):
            print(f"{name}: {answer.status} after {seconds:.2f} s")
            if name.startswith("GET"):
                assert answer.status == 200, name
            else:  # a cancel too, though it is written to the database
                away(answer, "ApiServerUnavailable")
            assert seconds < 15
        away(site.rest.get("/jobs", token=site.tokens["vera"]), "ApiServerUnavailable")  # nobody knows her yet
        own_cluster.start_apiserver()
        until(lambda: site.rest.post(f"/jobs/{job['id']}/run-now", idempotency_key="back").status == 200, 40)
        assert site.replicas.get("kept")["metadata"]["generation"] == 1
        assert "Traceback" not in site.log


def test_while_nobody_leads_a_run_waits_and_there_is_room_for_one(
    cluster: ControlPlane, postgres_server: Postgres, tmp_path: Path
) -> None:
    with open_site(cluster, postgres_server, tmp_path) as site:
        job = site.create("waiting")
        path = f"/jobs/{job['id']}/run-now"
        other = Rest(free_port(), site.rest.token)
        watched = f"{site.ours},{site.theirs}"
        site.replicas.start("two", web="true", auth="token", port=str(other.port), watch_namespaces=watched)
        until(other.answers, 30)
        assert other.get(f"/jobs/{job['id']}").status == 200
        site.replicas.signal("one", signal.SIGSTOP)  # until its Lease ends, in 5 seconds, nobody leads
        waiting = other.post(path, idempotency_key="first")
        assert (waiting.status, waiting.json["execution"]) == (202, None)
        refused = other.post(path, idempotency_key="second")
        assert (refused.status, refused.reason) == (409, "RunRequestPending")
        done = until(lambda: (found := other.post(path, idempotency_key="first")).status == 200 and found, 40)
        assert done.json["execution"]["runKey"] == "first"
        site.replicas.signal("one", signal.SIGCONT)
        assert len(other.get(f"/jobs/{job['id']}/logs").json["items"]) == 1
