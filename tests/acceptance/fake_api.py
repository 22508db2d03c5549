"""A small server that speaks list and watch, for faults that a real API server cannot be made to show.

Everything else is tested against a real one.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from aiohttp import web

GROUP = "scheduledjobs.dev"
BACKBONE = {
    "/api/v1": ("namespaces", "Namespace", False),
    "/apis/apiextensions.k8s.io/v1": ("customresourcedefinitions", "CustomResourceDefinition", False),
}


def _resource(name: str, kind: str, is_namespaced: bool) -> dict[str, Any]:  # noqa: FBT001
    verbs = ["get", "list", "watch", "patch"]
    return {"name": name, "singularName": kind.lower(), "namespaced": is_namespaced, "kind": kind, "verbs": verbs}


def thing(name: str, version: int = 1, **changes: Any) -> dict[str, Any]:
    """An object as an API server would send it."""
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": str(uuid4()),
        "generation": 1,
        "resourceVersion": str(version),
        "creationTimestamp": "2026-11-23T12:00:00Z",
    }
    body = {"apiVersion": f"{GROUP}/v1", "kind": "ScheduledJob", "spec": {"fixedRate": "1s", "handler": "log"}}
    return {**body, "metadata": {**metadata, **changes}}


class FakeApi:
    """Objects, and a switch for each fault."""

    def __init__(self) -> None:
        self.objects: list[dict[str, Any]] = []
        self.is_served = True
        self.refuse_watch = 0
        self.refused: set[str] = set()
        """Which namespaces may not be listed or watched: "list a", "watch a"."""

        self.is_discovered = True
        self.requests: Counter[str] = Counter()
        self.version = "100"
        self.limits: list[str | None] = []
        """How many objects each list asked for at most."""

        self.watched_from: list[str | None] = []
        self.url = ""
        self._watchers: list[asyncio.Queue[dict[str, Any] | None]] = []

    def send(self, kind: str, body: dict[str, Any]) -> None:
        """Send an event to every watcher."""
        for watcher in self._watchers:
            watcher.put_nowait({"type": kind, "object": body})

    def error(self, code: int) -> None:
        """Send the ERROR event of a status code."""
        self.send(
            "ERROR", {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "Expired"}
        )

    def cut(self) -> None:
        """End every watch."""
        for watcher in self._watchers:
            watcher.put_nowait(None)

    @property
    def watchers(self) -> int:
        """How many watch now."""
        return len(self._watchers)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.requests[f"{request.method} {path}"] += 1
        if path == f"/apis/{GROUP}/v1" and not self.is_discovered:
            return web.json_response({"kind": "Status", "code": 415}, status=415)
        if path == f"/apis/{GROUP}/v1":
            resources = [_resource("scheduledjobs", "ScheduledJob", True)] if self.is_served else []
            return web.json_response({"kind": "APIResourceList", "groupVersion": f"{GROUP}/v1", "resources": resources})
        if path == "/apis":
            groups = [_group(GROUP), _group("apiextensions.k8s.io")]
            return web.json_response({"kind": "APIGroupList", "groups": groups})
        if path == "/api":
            return web.json_response({"versions": ["v1"]})
        if path in BACKBONE:
            return web.json_response({"kind": "APIResourceList", "resources": [_resource(*BACKBONE[path])]})
        if path.endswith("/scheduledjobs") and self.is_served:
            verb = "watch" if "watch" in request.query else "list"
            if f"{verb} {_namespace(path)}" in self.refused:
                self.requests["REFUSED"] += 1
                said = f"may not {verb} in {_namespace(path)}"
                return web.json_response({"kind": "Status", "code": 403, "message": said}, status=403)
            return await self._watched(request) if verb == "watch" else self._list(request)
        return web.json_response({"kind": "Status", "code": 404, "message": "not found"}, status=404)

    def _list(self, request: web.Request) -> web.Response:
        limit = request.query.get("limit")
        self.limits.append(limit)
        metadata = {"resourceVersion": self.version}
        items = self.objects if limit is None else self.objects[: int(limit)]
        if len(items) < len(self.objects):
            metadata["continue"] = "the rest"
        return web.json_response({"kind": "ScheduledJobList", "metadata": metadata, "items": items})

    async def _watched(self, request: web.Request) -> web.StreamResponse:
        self.requests["WATCH"] += 1
        self.requests[f"WATCH {_namespace(request.path)}"] += 1
        self.watched_from.append(request.query.get("resourceVersion"))
        if self.refuse_watch:
            return web.json_response({"kind": "Status", "code": self.refuse_watch}, status=self.refuse_watch)
        return await self._watch(request)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._watchers.append(queue)
        try:
            while (event := await queue.get()) is not None:
                await response.write(json.dumps(event).encode() + b"\n")
        finally:
            self._watchers.remove(queue)
        return response


def _namespace(path: str) -> str:
    return path.split("/")[-2]


def _group(name: str) -> dict[str, Any]:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


@asynccontextmanager
async def serve() -> AsyncIterator[FakeApi]:
    """Serve on a free loopback port."""
    api = FakeApi()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api._answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield api
    finally:
        api.cut()
        with suppress(asyncio.CancelledError):
            await runner.cleanup()
