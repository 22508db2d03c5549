"""An HTTP proxy before the API server that can answer in its stead, or break an answer in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from dev.controlplane import ControlPlane
from tests.faults.proxy import Network

HOP_BY_HOP = frozenset({"transfer-encoding", "connection", "content-length", "host"})
TOO_MANY = 429


@dataclass(slots=True)
class Rule:
    """What happens to a request that `matches(method, path, query)`: an answer instead, or a fault of the true one.

    `truncate` lets so many bytes of the answer pass and then cuts; `mute` lets nothing pass any more after that many,
    with the connection open; `times` is how often the rule applies, None for always.
    """

    matches: Callable[[str, str, Mapping[str, str]], bool]
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    event: bytes | None = None
    truncate: int | None = None
    mute: int | None = None
    times: int | None = None
    hits: int = 0


def is_watch(_: str, __: str, query: Mapping[str, str]) -> bool:
    """Match watches."""
    return "watch" in query


class Gateway:
    """One HTTP proxy; a replica's kubeconfig names `url`, and its bearer token goes through."""

    def __init__(self, network: Network, plane: ControlPlane) -> None:
        self._network = network
        self._plane = plane
        self.rules: list[Rule] = []
        self._under_way: dict[int, web.Request] = {}
        self.url = ""
        network.call(self._listen())

    async def _listen(self) -> None:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    def close(self) -> None:
        """Take the port away."""
        self._network.call(self._close())

    async def _close(self) -> None:
        await self._session.close()
        await self._runner.cleanup()

    def cut(self, matches: Callable[[str, str, Mapping[str, str]], bool] = is_watch) -> int:
        """End the requests under way that match, in the middle; return how many."""
        return self._network.call(self._cut(matches))

    async def _cut(self, matches: Callable[[str, str, Mapping[str, str]], bool]) -> int:
        chosen = [each for each in self._under_way.values() if matches(each.method, each.path, each.query)]
        for request in chosen:
            self._abort(request)
        return len(chosen)

    def _rule(self, request: web.Request) -> Rule | None:
        for rule in self.rules:
            if (rule.times is None or rule.hits < rule.times) and rule.matches(
                request.method, request.path, request.query
            ):
                rule.hits += 1
                return rule
        return None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self._under_way[id(request)] = request
        try:
            return await self._answered(request)
        finally:
            del self._under_way[id(request)]

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        rule = self._rule(request)
        if rule is not None and rule.status is not None:
            reason = {TOO_MANY: "TooManyRequests"}.get(rule.status, "InternalError")
            body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": rule.status, "reason": reason}
            return web.json_response(body, status=rule.status, headers=rule.headers)
        if rule is not None and rule.event is not None:
            return await self._one_event(request, rule.event)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        url = f"{self._plane.server}{request.raw_path}"
        try:
            async with self._session.request(
                request.method,
                url,
                headers=headers,
                data=await request.read() or None,
                ssl=False,
                timeout=aiohttp.ClientTimeout(total=None, connect=5),
            ) as answer:
                return await self._pass(request, answer, rule)
        except (aiohttp.ClientError, OSError):
            self._abort(request)
            return web.Response(status=502)

    async def _one_event(self, request: web.Request, event: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(event + b"\n")
        return response

    async def _pass(
        self, request: web.Request, answer: aiohttp.ClientResponse, rule: Rule | None
    ) -> web.StreamResponse:
        headers: Any = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP]
        response = web.StreamResponse(status=answer.status, headers=dict(headers))
        await response.prepare(request)
        passed = 0
        async for data in answer.content.iter_any():
            if rule is not None and rule.truncate is not None and passed + len(data) > rule.truncate:
                await response.write(data[: max(0, rule.truncate - passed)])
                self._abort(request)
                return response
            if rule is not None and rule.mute is not None and passed + len(data) > rule.mute:
                await asyncio.Event().wait()
            passed += len(data)
            with suppress(ConnectionError):
                await response.write(data)
        return response

    def _abort(self, request: web.Request) -> None:
        if request.transport is not None:
            request.transport.close()
