"""Who may what over REST: a person sees and changes what the API server lets them, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from tests.acceptance.conftest import until
from tests.acceptance.rest import Site


@pytest.fixture(scope="module")
def job(site: Site) -> dict[str, Any]:
    """A job of the other namespace, with an execution that runs for long."""
    made = site.create("secret", site.theirs, payload={"seconds": 600, "message": "for ben alone"})
    return {**made, "run": site.run(made)}


@pytest.fixture(scope="module")
def calling(site: Site) -> dict[str, Any]:
    """A job of ours that calls a server."""
    return site.create("calling", handler="http", payload={"url": "https://other.example/"})


SPEC = {"spec": {"fixedRate": "5m", "handler": "log"}}
READS = ["/jobs/{id}", "/jobs/{id}/logs", "/jobs/{id}/versions", "/jobs/{id}/why?at={at}", "/executions/{run}"]
WRITES = [
    ("PUT", "/jobs/{id}", SPEC),
    ("PUT", "/jobs/{id}?dryRun=true", SPEC),
    ("DELETE", "/jobs/{id}", None),
    ("POST", "/jobs/{id}/pause", {}),
    ("POST", "/jobs/{id}/resume", None),
    ("POST", "/jobs/{id}/run-now", None),
    ("POST", "/executions/{run}/cancel", None),
]


def filled(path: str, job: dict[str, Any], name: str) -> str:
    return path.format(id=name, run=job["run"]["id"], at=job["run"]["fireTime"])


@pytest.mark.parametrize("path", READS)
def test_reads_nothing_of_another_namespace(site: Site, job: dict[str, Any], path: str) -> None:
    for name in (job["id"], f"{site.theirs}.secret"):
        answer = site.rest.get(filled(path, job, name))
        assert (answer.status, answer.reason) == (404, "NotFound")
        assert b"for ben alone" not in answer.body
        assert site.rest.get(filled(path, job, name), token=site.tokens["ben"]).status == 200


@pytest.mark.parametrize(("verb", "path", "body"), WRITES)
def test_changes_nothing_of_another_namespace(
    site: Site, job: dict[str, Any], verb: str, path: str, body: object
) -> None:
    before = site.rest.get(f"/jobs/{job['id']}", token=site.tokens["ben"]).json
    for name in (job["id"], f"{site.theirs}.secret"):
        answer = site.rest.call(verb, filled(path, job, name), body)
        assert (answer.status, answer.reason) == (404, "NotFound")
    after = site.rest.get(f"/jobs/{job['id']}", token=site.tokens["ben"]).json
    assert {**after, "updatedAt": "", "executions": [], "recent": []} == {
        **before,
        "updatedAt": "",
        "executions": [],
        "recent": [],
    }
    running = site.rest.get(f"/executions/{job['run']['id']}", token=site.tokens["ben"]).json
    assert running["cancelRequestedBy"] is None
    assert len(site.rest.get(f"/jobs/{job['id']}/logs", token=site.tokens["ben"]).json["items"]) == 1


def test_lists_jobs_of_the_own_namespace_alone(site: Site, job: dict[str, Any]) -> None:
    site.create("mine")

    def seen(token: str, query: str = "") -> set[str]:
        items = site.rest.get(f"/jobs?{query}", token=site.tokens[token]).json["items"]
        return {item["namespace"] for item in items}

    until(lambda: seen("ana") == {site.ours})
    assert seen("ben") == {site.theirs}
    assert seen("root") == {site.ours, site.theirs}
    assert seen("nobody") == set()
    assert seen("ana", f"namespace={site.theirs}") == set()
    assert seen("ana", f"q={site.theirs}") == set()
    cursor = site.rest.get("/jobs?limit=1", token=site.tokens["root"]).json["nextCursor"]
    assert seen("ana", f"cursor={cursor}") <= {site.ours}


def test_creates_nothing_in_another_namespace(site: Site) -> None:
    body = {"namespace": site.theirs, "name": "intruder", **SPEC}
    for query in ("", "?dryRun=true"):
        answer = site.rest.post(f"/jobs{query}", body)
        assert (answer.status, answer.reason) == (403, "Forbidden")
        assert "may not create scheduledjobs" in answer.json["detail"]
    assert site.replicas.cluster.kubectl("get", "sjob", "intruder", "-n", site.theirs, check=False).returncode == 1


WITH_CREDENTIAL = {"url": "https://other.example/", "credential": "reports"}
UNWRITTEN = [
    ("nobody", "POST", "/jobs?dryRun=true", {"name": "intruder"}),
    ("vera", "POST", "/jobs", {"name": "intruder"}),
    ("vera", "PUT", "/jobs/{id}?dryRun=true", {}),
    ("vera", "POST", "/jobs/{id}/run-now", {"payload": WITH_CREDENTIAL}),
]


@pytest.mark.parametrize(("who", "verb", "path", "more"), UNWRITTEN, ids=lambda value: str(value)[:24])
def test_what_is_wrong_with_a_spec_is_said_to_nobody_who_may_not_write_it(
    site: Site, calling: dict[str, Any], who: str, verb: str, path: str, more: dict[str, Any]
) -> None:
    """A spec that cannot work is refused with the names of credentials and their hosts, which are the namespace's."""
    spec = {"fixedRate": "1h", "handler": "http", "payload": WITH_CREDENTIAL}
    body = more if "payload" in more else {"spec": spec, **more, **({"namespace": site.ours} if more else {})}
    answer = site.rest.call(verb, path.format(id=calling["id"]), body, token=site.tokens[who])
    assert (answer.status, answer.reason) == (403, "Forbidden")
    assert b"redential" not in answer.body
    told = site.rest.call(verb, path.format(id=calling["id"]), body)
    assert (told.status, told.fields) == (422, ["spec.payload.credential" if "spec" in body else "payload.credential"])


def test_who_may_change_one_job_alone_changes_that_one(site: Site) -> None:
    site.create("own")
    site.create("not-own")
    kubectl, here = site.replicas.cluster.kubectl, ("-n", site.ours)
    kubectl("create", "serviceaccount", "otto", *here)
    what = "--resource=scheduledjobs.scheduledjobs.dev"
    kubectl("create", "role", "otto", "--verb=patch,get", what, "--resource-name=own", *here)
    for role in ("otto", "vera"):
        kubectl("create", "rolebinding", f"otto-{role}", f"--role={role}", f"--serviceaccount={site.ours}:otto", *here)
    otto = kubectl("create", "token", "otto", *here).stdout.strip()
    assert site.rest.put(f"/jobs/{site.ours}.own", SPEC, token=otto).status == 200
    refused = site.rest.put(f"/jobs/{site.ours}.not-own", SPEC, token=otto)
    assert (refused.status, refused.reason) == (403, "Forbidden")


def test_a_reader_reads_and_changes_nothing(site: Site) -> None:
    made = site.create("read-only", payload={"seconds": 600})
    run = site.run(made)
    vera = site.tokens["vera"]
    known = {**made, "run": run}
    for path in READS:
        assert site.rest.get(filled(path, known, made["id"]), token=vera).status == 200
    for verb, path, body in WRITES:
        answer = site.rest.call(verb, filled(path, known, made["id"]), body, token=vera)
        assert (answer.status, answer.reason) == (403, "Forbidden")
        assert "vera" in answer.json["detail"]
    assert site.rest.post("/jobs", {"namespace": site.ours, "name": "more", **SPEC}, token=vera).status == 403


def test_who_may_only_create_sees_what_was_made_and_no_more(site: Site) -> None:
    body = {"namespace": site.ours, "name": "blind", **SPEC}
    made = site.rest.post("/jobs", body, token=site.tokens["cleo"])
    assert made.status == 201
    assert site.rest.get(f"/jobs/{made.json['id']}", token=site.tokens["cleo"]).status == 404


def test_nobody_sees_what_is_public_and_that_is_all(site: Site) -> None:
    nobody = site.tokens["nobody"]
    assert site.rest.get("/handlers", token=nobody).status == 200
    assert site.rest.get("/preview?schedule=@daily", token=nobody).status == 200
    assert site.rest.get("/jobs", token=nobody).json == {"items": [], "nextCursor": None}


def test_a_right_that_is_taken_away_is_gone_for_writes_at_once(site: Site) -> None:
    made = site.create("fired")
    long = site.create("long", payload={"seconds": 600}, concurrencyPolicy="Allow")
    kubectl = site.replicas.cluster.kubectl
    kubectl("create", "serviceaccount", "temp", "-n", site.ours)
    words = ("create", "rolebinding", "temp", "-n", site.ours, "--role=ana", f"--serviceaccount={site.ours}:temp")
    kubectl(*words)
    token = kubectl("create", "token", "temp", "-n", site.ours).stdout.strip()
    assert site.rest.post(f"/jobs/{made['id']}/pause", {}, token=token).status == 200
    runs = [site.run(long)["id"] for _ in range(2)]
    assert site.rest.post(f"/executions/{runs[0]}/cancel", token=token).status == 200
    kubectl("delete", "rolebinding", "temp", "-n", site.ours)
    refused = until(
        lambda: (found := site.rest.post(f"/jobs/{made['id']}/resume", token=token)).status != 200 and found
    )
    assert (refused.status, refused.reason) == (403, "Forbidden")
    refused = site.rest.post(
        f"/executions/{runs[1]}/cancel", token=token
    )  # a write of ours, which no API server refuses
    assert (refused.status, refused.reason) == (403, "Forbidden")
    assert site.rest.get(f"/executions/{runs[1]}").json["cancelRequestedBy"] is None
