"""A replica that serves REST, the people who call it, and what they get."""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from dev.controlplane import ControlPlane
from dev.postgres import Postgres
from dev.processes import free_port
from tests.acceptance.conftest import Replicas, until

SCHEDULES = {"schedule", "fixedRate", "fixedDelay", "runAt"}
VERBS = ["get", "list", "watch", "create", "update", "patch", "delete"]


@dataclass(frozen=True)
class Answer:
    """What REST answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which is JSON."""
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """The word for programs of a problem, which says itself what it is."""
        assert self.headers["content-type"] == "application/problem+json", self
        found = self.json
        assert found["status"] == self.status
        assert found["title"]
        assert found["detail"]
        assert "Traceback" not in found["detail"]
        return str(found["reason"])

    @property
    def fields(self) -> list[str]:
        """The fields that a problem names."""
        return [error["field"] for error in self.json["errors"]]


@dataclass
class Rest:
    """One server of REST, called with a token unless another one is given."""

    port: int
    token: str = ""

    def call(
        self,
        verb: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        raw: bytes | None = None,
        seconds: float = 15,
        **headers: str,
    ) -> Answer:
        """Make a call; `headers` are named as arguments are, such as if_match."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        used = self.token if token is None else token
        if used:
            sent["Authorization"] = f"Bearer {used}"
        content = raw if raw is not None else None if body is None else json.dumps(body).encode()
        if content is not None:
            sent.setdefault("Content-Type", "application/json")
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            link.request(verb, path, content, sent)
            answer = link.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            link.close()

    def get(self, path: str, **more: Any) -> Answer:
        """Read."""
        return self.call("GET", path, **more)

    def post(self, path: str, body: object = None, **more: Any) -> Answer:
        """Do something."""
        return self.call("POST", path, body, **more)

    def put(self, path: str, body: object = None, **more: Any) -> Answer:
        """Replace."""
        return self.call("PUT", path, body, **more)

    def delete(self, path: str, **more: Any) -> Answer:
        """Delete."""
        return self.call("DELETE", path, **more)

    def answers(self) -> bool:
        """Return whether the server is there."""
        try:
            return self.get("/openapi.json").status == 200
        except OSError:
            return False

    def ended(self, path: str, seconds: float = 20) -> dict[str, Any]:
        """Return an execution once it has ended."""

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.get(path).json
            return found if found["finishedAt"] else None

        found = until(look, seconds)
        assert found is not None
        return found


@dataclass
class Site:
    """A replica that watches two namespaces, and tokens of people who may something in them."""

    replicas: Replicas
    rest: Rest
    ours: str
    theirs: str
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> str:
        """What the replica has logged."""
        return (self.replicas.folder / "one.log").read_text()

    def create(self, name: str, namespace: str | None = None, **spec: Any) -> dict[str, Any]:
        """Create a job as somebody who may everything; return it as REST does."""
        when = {} if SCHEDULES & spec.keys() else {"fixedRate": "1h"}
        body = {"namespace": namespace or self.ours, "name": name, "spec": {"handler": "log", **when, **spec}}
        made = self.rest.post("/jobs", body, token=self.tokens["root"])
        assert made.status == 201, made
        found: dict[str, Any] = made.json
        return found

    def run(self, job: dict[str, Any], payload: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run a job now; return its execution once it is recorded."""
        made = self.rest.post(f"/jobs/{job['id']}/run-now", {"payload": payload}, token=self.tokens["root"])
        assert made.status == 200, made
        found: dict[str, Any] = made.json["execution"]
        return found


@contextmanager
def open_site(cluster: ControlPlane, server: Postgres, folder: Path, **settings: str) -> Iterator[Site]:
    """Lend a replica that serves REST, with a database and two namespaces of its own."""
    name = uuid4().hex[:8]
    ours, theirs, database = f"ours-{name}", f"theirs-{name}", f"rest_{name}"
    for namespace in (ours, theirs):
        cluster.kubectl("create", "namespace", namespace)
    with psycopg.connect(server.url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {database} TEMPLATE template".encode())
    replicas = Replicas(cluster, ours, server.url.rsplit("/", 1)[0] + f"/{database}", folder)
    try:
        yield start_site(replicas, theirs, **settings)
    finally:
        replicas.stop()
        print(replicas.logs())
        for namespace in (ours, theirs):
            cluster.kubectl("delete", "scheduledjobs", "--all", "-n", namespace, "--wait=false", check=False)
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)".encode())


def start_site(replicas: Replicas, theirs: str, **settings: str) -> Site:
    """Start a replica with REST on a port of its own, and wait until it answers and leads."""
    port = free_port()
    watched = f"{replicas.namespace},{theirs}"
    chosen = {"web": "true", "auth": "token", "port": str(port), "watch_namespaces": watched, **settings}
    replicas.start("one", **chosen)
    rest = Rest(port)
    until(lambda: rest.answers() or replicas.processes["one"].poll() is not None, 30)
    replicas.wait_leader()
    tokens = people(replicas.cluster, replicas.namespace, theirs)
    rest.token = tokens["ana"]
    return Site(replicas, rest, replicas.namespace, theirs, tokens)


def people(cluster: ControlPlane, ours: str, theirs: str) -> dict[str, str]:
    """Return tokens: ana edits ours, ben theirs, vera reads ours, cleo creates in ours, nobody nothing, root all."""
    rights = [("ana", ours, VERBS), ("vera", ours, ["get", "list"]), ("cleo", ours, ["create"]), ("ben", theirs, VERBS)]
    items: list[dict[str, Any]] = []
    for name, namespace, verbs in rights:
        items += [_account(name, namespace), *_grant("Role", name, namespace, verbs)]
    items += [_account("nobody", ours), _account("root", ours)]
    items += _grant("ClusterRole", f"root-{ours}", ours, VERBS, "root")
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    cluster.kubectl("apply", "-f", "-", stdin=text)
    homes = {"ben": theirs}
    names = ("ana", "vera", "cleo", "ben", "nobody", "root")
    return {
        name: cluster.kubectl("create", "token", name, "-n", homes.get(name, ours)).stdout.strip() for name in names
    }


def _account(name: str, namespace: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}


def _grant(kind: str, name: str, namespace: str, verbs: list[str], account: str | None = None) -> list[dict[str, Any]]:
    where = {"name": name, "namespace": namespace} if kind == "Role" else {"name": name}
    rule = {"apiGroups": ["scheduledjobs.dev"], "resources": ["scheduledjobs"], "verbs": verbs}
    api = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": account or name, "namespace": namespace}
    ref = {"apiGroup": api, "kind": kind, "name": name}
    return [
        {"apiVersion": f"{api}/v1", "kind": kind, "metadata": where, "rules": [rule]},
        {"apiVersion": f"{api}/v1", "kind": f"{kind}Binding", "metadata": where, "roleRef": ref, "subjects": [subject]},
    ]


def expired(cluster: ControlPlane, token: str) -> str:
    """Return a token as the API server gave it, but signed for an hour that is over."""
    header, claims, _ = token.split(".")
    found = json.loads(base64.urlsafe_b64decode(claims + "=="))
    found |= {"iat": time.time() // 1 - 7200, "nbf": time.time() // 1 - 7200, "exp": time.time() // 1 - 3600}
    text = f"{header}.{_encoded(json.dumps(found).encode())}"
    command = ["openssl", "dgst", "-sha256", "-sign", str(cluster.folder / "pki" / "sa.key")]
    signed = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout
    return f"{text}.{_encoded(signed)}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
