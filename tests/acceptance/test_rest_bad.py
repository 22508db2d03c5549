"""Bad input: each is answered with a problem that says what is wrong, none by a traceback."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.acceptance.rest import Answer, Site, expired

HOSTILE = "<script>alert(1)</script>\x1b[31mred\x1b[0m \u202egnp.exe \u2066x"


@pytest.fixture(autouse=True)
def _no_traceback(site: Site) -> Any:
    before = site.log.count("Traceback")
    yield
    assert site.log.count("Traceback") == before


def post(site: Site, text: bytes | str, **more: Any) -> Answer:
    return site.rest.post("/jobs", raw=text.encode() if isinstance(text, str) else text, **more)


@pytest.mark.parametrize(
    "text",
    ["", "{", "{'a': 1}", "nul", '{"a": NaN}', b'"\xff"', '{"namespace": "\ud800"}'.encode("utf-8", "surrogatepass")],
)
def test_what_is_not_json_is_400(site: Site, text: bytes | str) -> None:
    answer = post(site, text)
    assert answer.status in ((400, 422) if not text else (400,))
    assert answer.reason


@pytest.mark.parametrize("text", ["[]", "null", "7", '"x"', "{}", '{"namespace": 7, "name": [], "spec": "x"}'])
def test_what_has_the_wrong_type_is_422(site: Site, text: str) -> None:
    answer = post(site, text)
    assert answer.status == 422
    assert answer.fields


def test_unknown_fields_are_named_and_not_repeated(site: Site) -> None:
    body = {"namespace": site.ours, "name": "x", "spec": {"fixedRate": "5m", "handler": "log"}, "sepc": "s3cret"}
    answer = site.rest.post("/jobs", body)
    assert (answer.status, answer.fields) == (422, ["sepc"])
    assert b"s3cret" not in answer.body
    assert site.rest.get("/jobs?colour=red").fields == ["colour"]
    assert site.rest.get("/jobs?limit=0").fields == ["limit"]
    assert site.rest.get("/jobs?limit=many").fields == ["limit"]
    assert site.rest.get("/jobs?state=MERRY").fields == ["state"]
    assert site.rest.get("/preview?schedule=@daily&count=101").fields == ["count"]
    assert site.rest.get("/preview?schedule=@daily&after=1700000000").fields == ["after"]
    assert site.rest.post(f"/jobs/{uuid4()}/run-now", {"payload": 7}).fields == ["payload"]


def test_a_body_that_is_endlessly_deep_is_400(site: Site) -> None:
    deep = '{"namespace":"a","name":"b","spec":' + '{"a":' * 20_000 + "1" + "}" * 20_000 + "}"
    assert post(site, deep).status == 400
    nested = '{"namespace":"a","name":"b","spec":' + '{"a":' * 900 + "1" + "}" * 900 + "}"
    assert (post(site, nested).status, post(site, nested).reason) == (400, "TooDeep")


def test_a_body_that_is_not_said_to_be_json_is_415(site: Site) -> None:
    answer = post(site, "namespace=a", content_type="application/x-www-form-urlencoded")
    assert (answer.status, answer.reason) == (415, "NotJson")


def test_a_large_body_is_413(site: Site) -> None:
    body = {"namespace": site.ours, "name": "x", "spec": {"handler": "log", "payload": {"message": "x" * 300_000}}}
    answer = site.rest.post("/jobs", body)
    assert (answer.status, answer.reason) == (413, "BodyTooLarge")


def test_a_large_body_without_a_length_is_413(site: Site) -> None:
    link = http.client.HTTPConnection("127.0.0.1", site.rest.port, timeout=10)
    headers = {"Authorization": f"Bearer {site.rest.token}", "Content-Type": "application/json"}
    with suppress(BrokenPipeError, ConnectionResetError):  # it stops listening; its answer is there all the same
        link.request("POST", "/jobs", iter([b"x" * 65_536] * 8), headers, encode_chunked=True)
    assert link.getresponse().status == 413
    link.close()


@pytest.mark.parametrize(
    "cursor", ["x", "W10", "bnVsbA", "WzEsMl0", "e30", "%00", "WyJhIiwiYiIsImMiXQ", "eyJhIjoxfQ=="]
)
def test_a_cursor_that_is_none_of_ours_is_400(site: Site, cursor: str) -> None:
    job = site.create(f"cursor-{uuid4().hex[:6]}")
    for path in ("/jobs", f"/jobs/{job['id']}/logs", f"/jobs/{job['id']}/versions"):
        answer = site.rest.get(f"{path}?cursor={cursor}")
        assert (answer.status, answer.reason) == (400, "BadCursor")


@pytest.mark.parametrize(
    "job",
    [
        "x",
        "a.b",
        ".",
        "..",
        "a.",
        ".b",
        "%00.%00",
        "a%2Fb.c",
        "%3Cscript%3E.x",
        "a" * 131,
        str(UUID(int=5)),
        "a.b%3Fx",
        "%FF",
    ],
)
def test_an_id_that_is_no_job_is_not_found(site: Site, job: str) -> None:
    for answer in (
        site.rest.get(f"/jobs/{job}"),
        site.rest.post(f"/jobs/{job}/run-now"),
        site.rest.delete(f"/jobs/{job}"),
    ):
        assert answer.status in ((404, 422) if len(job) > 130 else (404, 405) if job in (".", "..") else (404,)), answer
        assert answer.reason


@pytest.mark.parametrize(
    ("number", "status"), [("0", 422), ("-1", 422), ("x", 422), ("9" * 30, 422), (str(2**63 - 1), 404)]
)
def test_an_id_that_is_no_execution_is_not_found(site: Site, number: str, status: int) -> None:
    assert site.rest.get(f"/executions/{number}").status == status
    assert site.rest.post(f"/executions/{number}/cancel").status == status


@pytest.mark.parametrize(
    "name", ["<script>", "a/b", "A", "a b", "x" * 64, "", "a\x00", "\u202ex", "../x", "a?dryRun=All"]
)
def test_a_hostile_name_is_refused_by_its_field(site: Site, name: str) -> None:
    body = {"namespace": site.ours, "name": name, "spec": {"fixedRate": "5m", "handler": "log"}}
    answer = site.rest.post("/jobs", body)
    assert (answer.status, answer.fields) == (422, ["name"])
    body = {"namespace": name, "name": "x", "spec": {"fixedRate": "5m", "handler": "log"}}
    assert site.rest.post("/jobs", body).fields == ["namespace"]


def test_a_hostile_payload_is_told_as_it_is_and_as_json_alone(site: Site) -> None:
    job = site.create("hostile", payload={"message": HOSTILE})
    run = site.rest.ended(f"/executions/{site.run(job)['id']}")
    answer = site.rest.get(f"/executions/{run['id']}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json["payload"]["message"] == HOSTILE
    assert "<script>" in answer.json["outputs"][0]["output"]
    failed = site.rest.ended(f"/executions/{site.run(job, {'fail': HOSTILE})['id']}")
    assert "<script>" in failed["message"]
    nul = site.rest.post(f"/jobs/{job['id']}/run-now", {"payload": {"message": "a\0b"}})
    assert nul.status == 422, nul


@pytest.mark.parametrize(
    "body",
    [
        {"until": "soon"},
        {"until": "2020-01-01T00:00:00Z"},
        {"until": "9999-12-31T23:59:59-23:59"},
        {"reason": "x" * 257},
    ],
)
def test_a_pause_that_cannot_be_is_422(site: Site, body: dict[str, str]) -> None:
    job = site.create(f"nopause-{uuid4().hex[:6]}")
    answer = site.rest.post(f"/jobs/{job['id']}/pause", body)
    assert answer.status == 422
    assert answer.fields in (["until"], ["reason"])
    assert site.rest.get(f"/jobs/{job['id']}").json["state"] == "ACTIVE"


def test_a_reason_with_odd_characters_is_kept(site: Site) -> None:
    job = site.create("odd-pause")
    found = site.rest.post(f"/jobs/{job['id']}/pause", {"reason": f"{HOSTILE}\0"}).json
    assert found["pauseReason"] == HOSTILE


@pytest.mark.parametrize("at", ["yesterday", "2026-13-01T00:00:00Z", "", "1e9999", "0.5", "2026-01-01", "1700000000"])
def test_a_moment_that_cannot_be_asked_for_is_422(site: Site, at: str) -> None:
    job = site.create(f"nomoment-{uuid4().hex[:6]}")
    answer = site.rest.get(f"/jobs/{job['id']}/why?at={at}")
    assert answer.status == 422
    assert answer.fields == ["at"]


def test_a_token_that_the_api_server_does_not_take_is_401(site: Site) -> None:
    old = expired(site.replicas.cluster, site.tokens["ana"])
    for token in (old, "garbage", "x" * 10_000, site.tokens["ana"][:-4] + "AAAA"):
        answer = site.rest.get("/jobs", token=token)
        assert (answer.status, answer.reason) == (401, "NotAuthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert token.encode() not in answer.body
    for headers in ({}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer"}, {"authorization": "Bearer \xfc"}):
        assert site.rest.get("/jobs", token="", **headers).status == 401
    assert site.rest.get("/openapi.json", token="").status == 200


def test_a_cookie_from_another_site_changes_nothing(site: Site) -> None:
    job = site.create("forged")
    cookie = f"scheduledjobs_session={site.rest.token}"
    path = f"/jobs/{job['id']}/pause"
    for origin in ({"origin": "https://evil.example"}, {"origin": "null"}, {}, {"sec_fetch_site": "cross-site"}):
        answer = site.rest.post(path, {}, token="", cookie=cookie, **origin)
        assert (answer.status, answer.reason) == (403, "ForgedOrigin")
    assert site.rest.get(f"/jobs/{job['id']}", token="", cookie=cookie).json["state"] == "ACTIVE"
    own = {"origin": f"http://127.0.0.1:{site.rest.port}"}
    assert site.rest.post(path, {}, token="", cookie=cookie, **own).status == 200


def test_a_token_that_another_sites_page_brings_changes_nothing(site: Site) -> None:
    """A proxy that signs people in puts the token into whatever their browser was made to send."""
    job = site.create("brought")
    path = f"/jobs/{job['id']}/pause"
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{site.rest.port + 1}"):
        answer = site.rest.post(path, {}, origin=origin)
        assert (answer.status, answer.reason) == (403, "ForgedOrigin")
    assert site.rest.get(f"/jobs/{job['id']}").json["state"] == "ACTIVE"
    assert site.rest.post(path, {}, origin=f"http://127.0.0.1:{site.rest.port}").status == 200


def test_paths_and_methods_that_are_not_there(site: Site) -> None:
    assert site.rest.get("/nothing").reason == "NotFound"
    assert site.rest.get("/jobs/").status == 404
    answer = site.rest.call("PATCH", "/jobs")
    assert (answer.status, answer.reason) == (405, "MethodNotAllowed")
    assert set(answer.headers["allow"].split(", ")) >= {"GET", "POST"}


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b"GET /jobs?\xff HTTP/1.1\r\nHost: x\r\n\r\n"]
)
def test_what_is_not_http_is_400(site: Site, line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", site.rest.port), 5) as link:
        link.sendall(line)
        assert link.recv(100).split(b" ")[1][:1] == b"4"


def test_a_key_that_is_too_long_is_422(site: Site) -> None:
    job = site.create("long-key")
    answer = site.rest.post(f"/jobs/{job['id']}/run-now", idempotency_key="x" * 129)
    assert (answer.status, answer.fields) == (422, ["idempotency-key"])


def test_a_spec_over_the_limits_of_the_resource_is_422_or_413(site: Site) -> None:
    spec = {"fixedRate": "5m", "handler": "log", "payload": {"message": "x" * 60_000}}
    answer = site.rest.post("/jobs", {"namespace": site.ours, "name": "huge", "spec": spec})
    assert answer.status == 422
    assert json.loads(answer.body)["errors"]
    labels = {"a b": "c"}
    answer = site.rest.post(
        "/jobs",
        {"namespace": site.ours, "name": "labels", "labels": labels, "spec": {"fixedRate": "5m", "handler": "log"}},
    )
    assert (answer.status, answer.fields) == (422, ["metadata.labels"])
