"""What kopf sees of the API server: the HTTP session that it watches through, and what its requests tell.

What is there when a watch begins is the compare's to find as well: kopf would take 400 us of the event loop for each
object of a list, ten times what a page of the compare takes, and keep a kilobyte of it. So it is shown an empty list.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import aiohttp
import kopf
from yarl import URL

from scheduledjobs.core.nesting import DEEPEST_READ, cut_json, read_shallow
from scheduledjobs.core.resource import PLURAL
from scheduledjobs.kube.client import HTTP_ERROR, KubeClient

CREDENTIALS_LIVE = timedelta(minutes=10)


@dataclass(slots=True)
class Course:
    """What kopf's requests tell of its watches; `on_watching` hears of each that begins and may have missed something.

    A watch that goes on from where the one before it ended has missed nothing.
    """

    on_watching: Callable[[], None]
    _unsure: set[str] = field(default_factory=set)
    _seen_at: float = field(default_factory=time.monotonic)

    def saw(self, url: URL, *, is_good: bool) -> None:
        """Take note of a request that was answered, or failed."""
        if not url.path.endswith(f"/{PLURAL}"):
            return
        self._seen_at = time.monotonic()
        if not is_good or "watch" not in url.query:
            self._unsure.add(url.path)
        elif url.path in self._unsure:
            self._unsure.discard(url.path)
            self.on_watching()

    async def fall_silent(self, seconds: float) -> None:
        """Return once so much time has passed without a request."""
        while (left := self._seen_at + seconds - time.monotonic()) > 0:  # noqa: ASYNC110 a time is waited for
            await asyncio.sleep(left)

    def trace(self) -> aiohttp.TraceConfig:
        """Return what an HTTP session needs to tell of its requests."""

        async def ended(_: object, __: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
            self.saw(params.url, is_good=params.response.status < HTTP_ERROR)

        async def failed(_: object, __: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams) -> None:
            self.saw(params.url, is_good=False)

        config = aiohttp.TraceConfig()
        config.on_request_end.append(ended)
        config.on_request_exception.append(failed)
        return config


class Lines:
    """The lines of a watch, none of them deeper than kopf can read; otherwise the stream that they come from."""

    def __init__(self, stream: aiohttp.StreamReader) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield the stream in parts that end with a line."""
        begun = b""
        async for data in self._stream.iter_chunked(size):
            *lines, begun = (begun + data).split(b"\n")
            if lines:
                yield b"".join(_shallow_line(line) + b"\n" for line in lines)
        yield begun


def _shallow_line(line: bytes) -> bytes:
    may_be_deep = line.count(b"[") + line.count(b"{") > DEEPEST_READ
    return cut_json(line, DEEPEST_READ) if may_be_deep else line


def _emptied(answer: dict[str, Any]) -> dict[str, Any]:
    """Return a list of nothing of the same version, which is all that a watch needs to begin."""
    version = answer.get("metadata", {}).get("resourceVersion")
    return {**answer, "items": [], "metadata": {"resourceVersion": version}}


class Shallow(aiohttp.ClientResponse):
    """An answer that kopf can read: one object that is nested too deep would end the watch of all."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Begin to read."""
        await super().start(connection)
        if "watch" in self.url.query:
            self.content = Lines(self.content)  # type: ignore[assignment]
        return self

    async def json(self, **_: Any) -> Any:
        """Read the whole answer; of a list of ScheduledJobs only its version."""
        answer = read_shallow(await self.read())
        return _emptied(answer) if self.url.path.endswith(f"/{PLURAL}") and self.status < HTTP_ERROR else answer


class Login:
    """kopf's way in, by a session of ours that tells of its requests."""

    def __init__(self, kube: KubeClient, course: Course) -> None:
        self._kube = kube
        self._course = course
        self._sessions: list[aiohttp.ClientSession] = []
        self._credentials: dict[str, str] = {}
        self._given: kopf.AiohttpSession | None = None

    async def __call__(self) -> kopf.AiohttpSession:
        """Return the way in; the very same while its credentials are the same, so that kopf sees that they are
        refused and gives up, instead of asking again and again."""
        settings = self._kube.configuration
        info = await _connection(self._kube)
        now, credentials = datetime.now(UTC), info.as_http_headers()
        given = self._given
        if given is not None and credentials == self._credentials and given.expiration and now < given.expiration:
            return given
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=credentials,
            proxy=settings.proxy,
            trace_configs=[self._course.trace()],
            response_class=Shallow,
        )
        self._sessions.append(session)
        self._credentials = credentials
        self._given = kopf.AiohttpSession(
            server=info.server, aiohttp_session=session, expiration=now + CREDENTIALS_LIVE
        )
        return self._given

    async def close(self) -> None:
        """Close what kopf has left open."""
        for session in self._sessions:
            await session.close()


async def _connection(kube: KubeClient) -> kopf.ConnectionInfo:
    settings = kube.configuration
    scheme, _, token = (await settings.get_api_key_with_prefix("BearerToken") or "").partition(" ")
    return kopf.ConnectionInfo(
        server=settings.host,
        ca_path=settings.ssl_ca_cert,
        insecure=not settings.verify_ssl,
        certificate_path=settings.cert_file,
        private_key_path=settings.key_file,
        scheme=scheme or None,
        token=token.strip() or None,
    )
