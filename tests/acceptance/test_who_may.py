"""Who calls, and what they may: the API server says so, of the caller's own token and of nothing else."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from dev.controlplane import ControlPlane
from dev.processes import free_port
from kubernetes.aio import client
from tests.acceptance.conftest import job

from scheduledjobs.errors import Conflict, Forbidden, Invalid, KubeUnavailable, NotAuthenticated, NotFound
from scheduledjobs.kube.believed import FRESH_SECONDS, OUTAGE_SECONDS, PAUSE_SECONDS
from scheduledjobs.kube.caller import ANYBODY, Caller, Callers
from scheduledjobs.kube.client import KubeClient, load_configuration
from scheduledjobs.kube.listing import collection_path
from scheduledjobs.settings import load
from scheduledjobs.web.auth import Auth

GARBAGE = "e30.bm9uc2Vuc2U.bm9uc2Vuc2U"


class People:
    """Service accounts of one namespace, as people with rights and without."""

    def __init__(self, cluster: ControlPlane, namespace: str) -> None:
        self._cluster = cluster
        self.namespace = namespace
        self._everywhere: list[str] = []

    def token(self, name: str, *verbs: str, everywhere: bool = False) -> str:
        """Return the token of somebody new, who may do this with ScheduledJobs in the namespace, or everywhere."""
        kubectl, here = self._cluster.kubectl, ("-n", self.namespace)
        kubectl("create", "serviceaccount", name, *here)
        if verbs:
            role, at = ("clusterrole", ()) if everywhere else ("role", here)
            known = f"{self.namespace}-{name}"
            kubectl(
                "create", role, known, f"--verb={','.join(verbs)}", "--resource=scheduledjobs.scheduledjobs.dev", *at
            )
            who = f"--serviceaccount={self.namespace}:{name}"
            kubectl("create", f"{role}binding", known, f"--{role}={known}", who, *at)
            self._everywhere += [f"{role}binding/{known}", f"{role}/{known}"] if everywhere else []
        return kubectl("create", "token", name, *here).stdout.strip()

    def dismiss(self, name: str) -> None:
        """Take back every token of somebody."""
        self._cluster.kubectl("delete", "serviceaccount", name, "-n", self.namespace)

    def leave(self) -> None:
        """Take back what holds everywhere."""
        if self._everywhere:
            self._cluster.kubectl("delete", *self._everywhere)


class Clock:
    """A clock in the test's hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def people(cluster: ControlPlane, namespace: str) -> Iterator[People]:
    found = People(cluster, namespace)
    yield found
    found.leave()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def configuration(cluster: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> client.Configuration:
    """The operator's own: here it may do everything."""
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    return await load_configuration()


@pytest.fixture
async def callers(configuration: client.Configuration, clock: Clock) -> AsyncIterator[Callers]:
    async with Callers(configuration, clock) as found:
        yield found


@asynccontextmanager
async def away(callers: Callers) -> AsyncIterator[None]:
    """The API server, as seen by the callers, is not there."""
    server = callers._server
    callers._server = replace(server, url=f"https://127.0.0.1:{free_port()}")
    try:
        yield
    finally:
        callers._server = server


async def test_a_token_says_who_it_is(callers: Callers, people: People) -> None:
    caller = await callers.who(people.token("jane"))
    assert caller.name == f"system:serviceaccount:{people.namespace}:jane"
    assert "system:serviceaccounts" in caller.groups
    assert caller.token is not None
    assert caller.token not in repr(caller)


BAD = ["", " ", GARBAGE, "a b", "a\r\nImpersonate-User: admin", "é", "x" * 20_000, "=", "Bearer x"]


@pytest.mark.parametrize("token", BAD, ids=range(len(BAD)))
async def test_a_token_that_nobody_knows_is_refused(callers: Callers, token: str) -> None:
    with pytest.raises(NotAuthenticated) as caught:
        await callers.who(token)
    assert token.strip() == "" or token == "=" or token not in str(caught.value)


async def test_a_token_that_has_expired_is_refused(callers: Callers, people: People, cluster: ControlPlane) -> None:
    people.token("jane")
    assert (await callers.who(signed(cluster, people.namespace, "jane", 60))).name.endswith(":jane")
    with pytest.raises(NotAuthenticated):
        await callers.who(signed(cluster, people.namespace, "jane", -60))


async def test_a_token_that_is_taken_back_counts_for_a_minute_at_most_and_never_beyond_its_own_end(
    configuration: client.Configuration, people: People, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = people.token("jane")
    async with Callers(configuration, clock) as one, Callers(configuration) as other, Callers(configuration) as third:
        jane = await one.who(token)
        assert await other.who(token) == await third.who(token) == jane
        people.dismiss("jane")
        await until_refused(configuration, token)  # the API server believes a token for ten seconds
        assert await one.who(token) == jane
        clock.now += FRESH_SECONDS
        with pytest.raises(NotAuthenticated):
            await one.may(jane, "get", people.namespace)
        with pytest.raises(NotAuthenticated):
            await one.who(token)
        assert await other.who(token) == jane
        with pytest.raises(NotAuthenticated):  # a write is asked at once, and what it says counts from then on
            await other.request(jane, "GET", collection_path(people.namespace))
        with pytest.raises(NotAuthenticated):
            await other.who(token)
        assert await third.who(token) == jane
        monkeypatch.setattr("scheduledjobs.kube.caller.time.time", lambda: 1e11)
        with pytest.raises(NotAuthenticated):
            await third.who(token)


async def until_refused(configuration: client.Configuration, token: str) -> None:
    deadline = time.monotonic() + 30
    async with Callers(configuration) as callers:
        while time.monotonic() < deadline:
            try:
                callers.forget((await callers.who(token)).token or "")
            except NotAuthenticated:
                return
            await asyncio.sleep(0.2)
    raise AssertionError("the token still counts")


def signed(cluster: ControlPlane, namespace: str, name: str, seconds: float) -> str:
    """Return a token as the API server would sign it, that expires so many seconds from now."""
    account = json.loads(cluster.kubectl("get", "serviceaccount", name, "-n", namespace, "-o", "json").stdout)
    issuer, now = "https://kubernetes.default.svc", int(time.time())
    claims = {
        "iss": issuer,
        "aud": [issuer],
        "sub": f"system:serviceaccount:{namespace}:{name}",
        "iat": now - 3600,
        "nbf": now - 3600,
        "exp": now + seconds,
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]}},
    }
    text = f"{_base64(json.dumps({'alg': 'RS256'}).encode())}.{_base64(json.dumps(claims).encode())}"
    sign = ["openssl", "dgst", "-sha256", "-sign", str(cluster.folder / "pki" / "sa.key")]
    return f"{text}.{_base64(subprocess.run(sign, input=text.encode(), capture_output=True, check=True).stdout)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


async def test_rights_are_those_of_the_caller(callers: Callers, people: People) -> None:
    reader = await callers.who(people.token("reader", "get", "list"))
    nobody = await callers.who(people.token("nobody"))
    boss = await callers.who(people.token("boss", "list", everywhere=True))
    here = people.namespace
    assert [await callers.may(reader, verb, here) for verb in ("get", "list", "patch")] == [True, True, False]
    assert not await callers.may(reader, "list", "default")
    assert not await callers.may(reader, "list", None)
    assert not await callers.may(nobody, "get", here)
    assert await callers.may(boss, "list", None)
    assert await callers.may(boss, "list", here)
    assert not await callers.may(boss, "delete", here)
    assert await callers.may(ANYBODY, "delete", None)


async def test_in_an_outage_what_is_known_counts_and_says_how_old_it_is(
    callers: Callers, people: People, clock: Clock
) -> None:
    token, stranger = people.token("jane", "get"), people.token("joe")
    caller = await callers.who(token)
    assert await callers.may(caller, "get", people.namespace)
    async with away(callers):
        clock.now += FRESH_SECONDS + 1
        assert await callers.who(token) == caller
        assert await callers.may(caller, "get", people.namespace)
        assert callers.stale_since(caller) is not None
        for _ in range(2):  # the second is not even tried
            with pytest.raises(KubeUnavailable):
                await callers.who(stranger)
        with pytest.raises(KubeUnavailable):
            await callers.request(caller, "GET", collection_path(people.namespace))
        clock.now += OUTAGE_SECONDS
        with pytest.raises(KubeUnavailable):
            await callers.who(token)
    clock.now += PAUSE_SECONDS
    assert await callers.who(token) == caller
    assert callers.stale_since(caller) is None


async def test_tokens_that_nobody_knows_do_not_push_out_one_that_is_known(
    callers: Callers, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduledjobs.kube.caller.MOST_CALLERS", 2)
    token = people.token("jane")
    caller = await callers.who(token)
    refused = await asyncio.gather(*(callers.who(f"{GARBAGE}{n}") for n in range(5)), return_exceptions=True)
    assert all(isinstance(one, NotAuthenticated) for one in refused)
    async with away(callers):
        assert await callers.who(token) == caller  # not asked: still known
    assert (len(callers._known), len(callers._arriving)) == (1, 0)


async def test_what_is_known_is_bounded(callers: Callers, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduledjobs.kube.caller.MOST_CALLERS", 1)
    monkeypatch.setattr("scheduledjobs.kube.caller.MOST_RIGHTS", 3)
    await callers.who(people.token("one"))
    caller = await callers.who(people.token("two"))
    for number in range(6):
        await callers.may(caller, "get", f"other-{number}")
    assert len(callers._known) == 1
    assert [len(known.rights) for known in callers._known.values()] == [3]


async def test_other_callers_are_forgotten_before_what_the_one_who_asks_may(
    callers: Callers, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduledjobs.kube.caller.MOST_RIGHTS", 3)
    one, two = [await callers.who(people.token(name)) for name in ("one", "two")]
    for caller, count in ((one, 2), (two, 3)):
        for number in range(count):
            await callers.may(caller, "get", f"other-{number}")
    assert [len(known.rights) for known in callers._known.values()] == [3]


async def test_what_a_caller_may_see_is_asked_once_however_many_namespaces_there_are(
    callers: Callers, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduledjobs.kube.caller.MOST_RIGHTS", 10)
    caller = await callers.who(people.token("jane", "get"))
    denied = [f"other-{number}" for number in range(6)]

    async def namespaces() -> list[str]:
        return [*denied, people.namespace]

    monkeypatch.setenv("SCHEDULEDJOBS_DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("SCHEDULEDJOBS_AUTH", "token")
    auth, asked = Auth(load(), callers, namespaces), []
    ask = callers._ask_right

    async def counted(caller: Caller, verb: str, namespace: str | None, name: str) -> bool:
        asked.append((verb, namespace))
        return await ask(caller, verb, namespace, name)

    monkeypatch.setattr(callers, "_ask_right", counted)
    assert await auth.scope(caller) == {people.namespace}
    assert len(asked) == len({*asked}) > len(denied)
    before = len(asked)
    assert await auth.scope(caller) == {people.namespace}
    assert len(asked) == before


async def test_no_token_is_a_key(callers: Callers, people: People) -> None:
    token = people.token("jane")
    await callers.who(token)
    assert [len(key) for key in callers._known] == [32]


def certified(cluster: ControlPlane, folder: Path) -> Path:
    """Return a kubeconfig whose client certificate may do everything, and that has no token."""
    pki = cluster.folder / "pki"
    request = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/O=system:masters/CN=operator"]
    sign = ["x509", "-req", "-in", str(folder / "me.csr"), "-CA", str(pki / "front-ca.crt")]
    sign += ["-CAkey", str(pki / "front-ca.key"), "-set_serial", "7", "-out", str(folder / "me.crt")]
    for words in ([*request, "-keyout", str(folder / "me.key"), "-out", str(folder / "me.csr")], sign):
        subprocess.run(["openssl", *words], check=True, capture_output=True)
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    user = {"client-certificate": str(folder / "me.crt"), "client-key": str(folder / "me.key")}
    config["users"] = [{"name": "admin", "user": user}]
    path = folder / "certified"
    path.write_text(yaml.safe_dump(config))
    return path


async def test_the_operators_own_certificate_never_speaks_for_a_caller(
    cluster: ControlPlane, people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(certified(cluster, tmp_path)))
    configuration = await load_configuration()
    own = KubeClient(configuration)
    async with Callers(configuration) as callers:
        assert (await own.request("GET", "/api/v1/nodes"))["kind"] == "NodeList"  # the certificate alone suffices
        await own.api.close()
        assert (await callers.who(people.token("jane"))).name.endswith(":jane")
        for token in ("", GARBAGE):
            with pytest.raises(NotAuthenticated):
                await callers.who(token)
        for token in ("", GARBAGE):  # not even where nobody asked first who it is
            with pytest.raises(NotAuthenticated):
                await callers.request(Caller("forged", (), token), "GET", "/api/v1/nodes")
        assert (await callers.request(ANYBODY, "GET", "/api/v1/nodes"))["kind"] == "NodeList"


async def test_the_operators_token_never_speaks_for_a_caller(callers: Callers, people: People) -> None:
    jane = await callers.who(people.token("jane"))
    with pytest.raises(Forbidden, match=f'User "{jane.name}" cannot list resource "nodes"'):
        await callers.request(jane, "GET", "/api/v1/nodes")


async def test_headers_of_a_request_cannot_make_it_somebody_elses(
    callers: Callers, people: People, cluster: ControlPlane
) -> None:
    jane = await callers.who(people.token("jane"))
    stolen = {"Authorization": f"Bearer {cluster.token}"}
    with pytest.raises(Forbidden):
        await callers.request(jane, "GET", "/api/v1/nodes", headers=stolen)


async def test_a_write_is_the_callers_own_and_refused_with_the_servers_own_sentence(
    callers: Callers, people: People
) -> None:
    writer = await callers.who(people.token("writer", "create", "get"))
    reader = await callers.who(people.token("reader", "get"))
    path = collection_path(people.namespace)
    made = await callers.request(writer, "POST", path, body=job("mine", fixedRate="1h"), query={"fieldManager": "test"})
    assert made["metadata"]["managedFields"][0]["manager"] == "test"
    with pytest.raises(Forbidden) as refused:
        await callers.request(reader, "POST", path, body=job("other", fixedRate="1h"))
    assert str(refused.value).startswith('scheduledjobs.scheduledjobs.dev is forbidden: User "system:serviceaccount:')
    with pytest.raises(Conflict, match="already exists"):
        await callers.request(writer, "POST", path, body=job("mine", fixedRate="1h"))
    with pytest.raises(NotFound, match=r'"gone" not found'):
        await callers.request(reader, "GET", f"{path}/gone")


@pytest.mark.parametrize("who", ["a caller", "anybody"])
async def test_what_the_server_finds_wrong_keeps_its_fields(callers: Callers, people: People, who: str) -> None:
    caller = ANYBODY if who == "anybody" else await callers.who(people.token("writer", "create"))
    wrong = job("wrong", fixedRate="1h", concurrencyPolicy="Sometimes", timeout=3)
    with pytest.raises(Invalid) as refused:
        await callers.request(caller, "POST", collection_path(people.namespace), body=wrong)
    assert {cause.field for cause in refused.value.causes} == {"spec.concurrencyPolicy", "spec.timeout"}
    assert all(cause.message for cause in refused.value.causes)


async def test_a_dry_run_and_a_patch_are_passed_on(callers: Callers, people: People) -> None:
    writer = await callers.who(people.token("writer", "create", "patch", "get"))
    path = collection_path(people.namespace)
    await callers.request(writer, "POST", path, body=job("dry", fixedRate="1h"), query={"dryRun": "All"})
    with pytest.raises(NotFound):
        await callers.request(writer, "GET", f"{path}/dry")
    await callers.request(writer, "POST", path, body=job("wet", fixedRate="1h"))
    merge = {"Content-Type": "application/merge-patch+json"}
    for caller in (writer, ANYBODY):
        note = {"metadata": {"annotations": {"by": caller.name[:5]}}}
        got = await callers.request(caller, "PATCH", f"{path}/wet", body=note, headers=merge)
        assert got["metadata"]["annotations"]["by"] == caller.name[:5]


@pytest.mark.parametrize("name", ["../default", "a/b", "a?b=c", "a#b", "", "é", "a%2fb", "..", "a b", "a\n"])
async def test_a_name_cannot_make_another_request(callers: Callers, name: str) -> None:
    with pytest.raises(NotFound):
        await callers.request(ANYBODY, "GET", f"{collection_path('default')}/{name}")
