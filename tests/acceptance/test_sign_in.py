"""Signing in and out, and what a request may see and do: the real API server says who may."""

from __future__ import annotations

import html
from collections.abc import AsyncIterator, Iterator, Sequence
from urllib.parse import urlencode

import pytest
from dev.controlplane import ControlPlane
from dev.processes import free_port
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from kubernetes.aio import client
from pydantic import SecretStr
from tests.acceptance.test_who_may import GARBAGE, People
from tests.pages.asgi import Answer, call

from scheduledjobs.errors import StoreUnavailable
from scheduledjobs.kube.caller import Callers
from scheduledjobs.kube.client import load_configuration
from scheduledjobs.settings import Settings
from scheduledjobs.web import problems
from scheduledjobs.web.auth import Auth, login_router, to_login
from scheduledjobs.web.problems import ProblemError

OWN = {"Origin": "http://jobs.example"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Database:
    """The namespaces that have jobs, as the database would tell them."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.asked = 0
        self.is_away = False

    async def namespaces(self) -> Sequence[str]:
        self.asked += 1
        if self.is_away:
            raise StoreUnavailable("away")
        return self.names


async def render(request: Request, template: str, **context: object) -> Response:
    return HTMLResponse(f"{template} next={context['next']} error={html.escape(str(context['error']))}")


async def page(request: Request, problem: ProblemError) -> Response:
    return to_login(request) if problem.status == 401 else problem.response()


def site(callers: Callers, database: Database, auth: str = "token") -> FastAPI:
    """An app as the site builds it: one page, one read and one write."""
    host = "127.0.0.1" if auth == "none" else "0.0.0.0"
    settings = Settings(database_url=SecretStr("postgresql://localhost/db"), auth=auth, host=host)
    app = FastAPI()
    app.state.auth, app.state.render = Auth(settings, callers, database.namespaces), render
    problems.install(app, page)
    app.include_router(login_router)

    @app.get("/ui/who")
    @app.get("/who")
    @app.post("/who")
    async def who(request: Request) -> dict[str, object]:
        found = app.state.auth
        caller = await found.caller(request)
        scope = await found.scope(caller)
        return {"name": caller.name, "scope": None if scope is None else sorted(scope)}

    return app


@pytest.fixture
async def configuration(cluster: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> client.Configuration:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    return await load_configuration()


@pytest.fixture
async def callers(configuration: client.Configuration) -> AsyncIterator[Callers]:
    async with Callers(configuration) as found:
        yield found


@pytest.fixture
def people(cluster: ControlPlane, namespace: str) -> Iterator[People]:
    found = People(cluster, namespace)
    yield found
    found.leave()


@pytest.fixture
def database(namespace: str) -> Database:
    return Database("default", namespace, "other")


def with_token(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def with_cookie(token: str) -> dict[str, str]:
    return {"Cookie": f"scheduledjobs_session={token}"}


async def log_in(app: FastAPI, token: str, wanted: str = "/ui/jobs", **headers: str) -> Answer:
    body = urlencode({"token": token, "next": wanted}).encode()
    return await call(app, "POST", "/ui/login", headers={**OWN, **FORM, **headers}, body=body)


async def test_a_person_sees_the_namespaces_where_they_may_get_or_list(
    callers: Callers, people: People, database: Database
) -> None:
    app, here = site(callers, database), [people.namespace]
    seen = {
        "getter": (people.token("getter", "get"), here),
        "lister": (people.token("lister", "list"), here),
        "writer": (people.token("writer", "create", "patch"), []),
        "nobody": (people.token("nobody"), []),
        "boss": (people.token("boss", "list", everywhere=True), None),
        "watcher": (people.token("watcher", "get", everywhere=True), None),
    }
    for name, (token, scope) in seen.items():
        answer = await call(app, "GET", "/who", headers=with_token(token))
        full = f"system:serviceaccount:{people.namespace}:{name}"
        assert answer.json() == {"name": full, "scope": scope}, name


async def test_a_namespace_is_seen_at_once_by_who_made_a_job_in_it(
    callers: Callers, people: People, cluster: ControlPlane
) -> None:
    database = Database("default")
    app, token = site(callers, database), with_token(people.token("jane", "get"))
    assert (await call(app, "GET", "/who", headers=token)).json()["scope"] == []
    app.state.auth.learn(people.namespace)
    assert (await call(app, "GET", "/who", headers=token)).json()["scope"] == [people.namespace]


async def test_the_database_is_not_asked_for_each_poll(callers: Callers, people: People, database: Database) -> None:
    app, token = site(callers, database), with_token(people.token("jane", "get"))
    for _ in range(5):
        await call(app, "GET", "/who", headers=token)
    assert database.asked == 1


async def test_a_database_that_is_away_is_503(callers: Callers, people: People, database: Database) -> None:
    database.is_away = True
    app, token = site(callers, database), with_token(people.token("jane"))
    answer = await call(app, "GET", "/who", headers=token)
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    database.is_away = False
    assert (await call(app, "GET", "/who", headers=token)).status == 200


BAD = [{}, with_token(""), with_token(GARBAGE), {"Authorization": "Basic YTpi"}, with_cookie(GARBAGE), with_cookie("")]


@pytest.mark.parametrize("headers", BAD, ids=str)
async def test_without_a_token_that_counts_it_is_401(
    headers: dict[str, str], callers: Callers, database: Database
) -> None:
    app = site(callers, database)
    answer = await call(app, "GET", "/who", headers=headers)
    assert (answer.status, answer.json()["reason"]) == (401, "NotAuthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert GARBAGE.encode() not in answer.body
    asked = await call(app, "GET", "/ui/who?a=b", headers=headers)
    assert (asked.status, asked.headers["location"]) == (303, "/ui/login?next=/ui/who%3Fa%3Db")


async def test_a_wrong_token_in_the_header_is_not_made_good_by_a_cookie(
    callers: Callers, people: People, database: Database
) -> None:
    headers = {**with_token(GARBAGE), **with_cookie(people.token("jane"))}
    assert (await call(site(callers, database), "GET", "/who", headers=headers)).status == 401


async def test_signing_in_keeps_the_token_in_a_cookie_and_signing_out_ends_it(
    callers: Callers, people: People, database: Database
) -> None:
    app, token = site(callers, database), people.token("jane")
    answer = await log_in(app, f" Bearer {token}\n")
    assert (answer.status, answer.headers["location"]) == (303, "/ui/jobs")
    cookie = answer.headers["set-cookie"]
    assert cookie == f"scheduledjobs_session={token}; HttpOnly; SameSite=Strict; Path=/"
    assert answer.headers["cache-control"] == "no-store"
    mine = {"Cookie": cookie.partition(";")[0]}
    assert (await call(app, "GET", "/ui/who", headers=mine)).json()["name"].endswith(":jane")
    out = await call(app, "POST", "/ui/logout", headers={**mine, **OWN})
    assert (out.status, out.headers["location"]) == (303, "/ui/login")
    assert out.headers["set-cookie"].startswith("scheduledjobs_session=; ")
    assert not callers._known


@pytest.mark.parametrize("token", ["", GARBAGE, "<script>", "x" * 3801], ids=["none", "unknown", "hostile", "long"])
async def test_a_token_that_does_not_count_signs_nobody_in(token: str, callers: Callers, database: Database) -> None:
    answer = await log_in(site(callers, database), token)
    assert answer.status == (400 if len(token) > 3800 else 401)
    assert answer.body.startswith(b"login.html next=/ui/jobs error=")
    assert b"error=None" not in answer.body
    assert "set-cookie" not in answer.headers
    assert not token or token.encode() not in answer.body


async def test_signing_in_leads_to_no_other_site(callers: Callers, people: People, database: Database) -> None:
    answer = await log_in(site(callers, database), people.token("jane"), "https://evil.example/ui/")
    assert answer.headers["location"] == "/ui/"


async def test_the_form_keeps_where_to_go(callers: Callers, database: Database) -> None:
    answer = await call(site(callers, database), "GET", "/ui/login?next=/ui/jobs%3Fq%3Da")
    assert (answer.status, answer.body) == (200, b"login.html next=/ui/jobs?q=a error=None")


async def test_another_site_can_sign_nobody_in_or_out(callers: Callers, people: People, database: Database) -> None:
    app, token = site(callers, database), people.token("jane")
    for answer in (
        await log_in(app, token, Origin="https://evil.example"),
        await call(app, "POST", "/ui/logout", headers={**with_cookie(token), "Origin": "null"}),
    ):
        assert (answer.status, answer.json()["reason"]) == (403, "ForgedOrigin")
        assert "set-cookie" not in answer.headers


async def test_a_write_by_cookie_must_come_from_a_page_of_ours(
    callers: Callers, people: People, database: Database
) -> None:
    app, token = site(callers, database), people.token("jane")
    assert (await call(app, "POST", "/who", headers={**with_cookie(token), **OWN})).status == 200
    for forged in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = await call(app, "POST", "/who", headers={**with_cookie(token), **forged})
        assert (answer.status, answer.json()["reason"]) == (403, "ForgedOrigin")
    assert (await call(app, "POST", "/who", headers=with_token(token))).status == 200
    assert (await call(app, "GET", "/who", headers=with_cookie(token))).status == 200


@pytest.mark.parametrize("auth", ["none", "none-for-everybody"])
async def test_where_nobody_signs_in_everybody_sees_all_and_no_other_site_writes(
    auth: str, callers: Callers, database: Database
) -> None:
    app, local = site(callers, database, auth), {"Host": "localhost:8080"}
    assert (await call(app, "GET", "/who", headers=local)).json() == {"name": "anonymous", "scope": None}
    assert (await call(app, "POST", "/who", headers={**local, "Origin": "http://localhost:8080"})).status == 200
    assert (await call(app, "POST", "/who", headers={**local, **with_token("anything")})).status == 200
    forged = await call(app, "POST", "/who", headers={**local, "Origin": "https://evil.example"})
    assert (forged.status, forged.json()["reason"]) == (403, "ForgedOrigin")
    login = await call(app, "GET", "/ui/login?next=/ui/jobs", headers=local)
    assert (login.status, login.headers["location"]) == (303, "/ui/jobs")


async def test_where_nobody_signs_in_only_names_of_this_machine_are_answered(
    callers: Callers, database: Database
) -> None:
    own = {"Origin": "http://evil.example:8080", "Host": "evil.example:8080"}
    for verb in ("GET", "POST"):
        answer = await call(site(callers, database, "none"), verb, "/who", headers=own)
        assert (answer.status, answer.json()["reason"]) == (421, "ForeignHost")
        assert (await call(site(callers, database, "none-for-everybody"), verb, "/who", headers=own)).status == 200


async def test_while_the_api_server_is_away_nobody_new_comes_in(
    configuration: client.Configuration, people: People, database: Database
) -> None:
    token = people.token("jane")
    configuration.host = f"https://127.0.0.1:{free_port()}"
    async with Callers(configuration) as callers:
        app = site(callers, database)
        answer = await call(app, "GET", "/who", headers=with_token(token))
        assert (answer.status, answer.json()["reason"]) == (503, "ApiServerUnavailable")
        assert answer.headers["retry-after"] == "2"
        form = await log_in(app, token)
        assert (form.status, form.headers["retry-after"]) == (503, "2")
        assert b"The API server of the cluster does not answer." in form.body
