"""What kopf sees of the API server: the HTTP session that it watches through, and what its requests tell.

What is there when a watch begins is the compare's to find as well: kopf would take 400 us of the event loop for each
object of a list, ten times what a page of the compare takes, and keep a kilobyte of it. So it is shown an empty list.

And a namespace that is refused looks to it like an empty one whose watch expires every few seconds: it gives up all of
them for one 403, and this way it goes on with the others, and takes that one up again once it may be watched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import aiohttp
import kopf
from yarl import URL

from scheduledjobs.core.nesting import DEEPEST_READ, cut_json, read_shallow
from scheduledjobs.core.resource import PLURAL
from scheduledjobs.kube.client import FORBIDDEN, HTTP_ERROR, KubeClient, message_of
from scheduledjobs.kube.refusals import Refusals

CREDENTIALS_LIVE = timedelta(minutes=10)
HTTP_OK = 200
EXPIRED = b'{"type": "ERROR", "object": {"code": 410}}\n'


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


class Nothing(Lines):
    """A watch in which nothing happens until it has expired, upon which kopf begins again with a list."""

    def __init__(self, stream: aiohttp.StreamReader, seconds: float) -> None:
        super().__init__(stream)
        self._seconds = seconds

    async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        """Yield its end, when it is time."""
        await asyncio.sleep(self._seconds)
        yield EXPIRED


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

    def look_empty(self, seconds: float) -> None:
        """Seem to be a list, or a watch that lasts so long, of nothing."""
        self.status, self._body = HTTP_OK, b"{}"
        self.content = Nothing(self.content, seconds)  # type: ignore[assignment]


@dataclass(slots=True)
class Course:
    """What kopf's requests tell of its watches; `on_watching` hears of each that begins and may have missed something.

    A watch that goes on from where the one before it ended has missed nothing.
    """

    on_watching: Callable[[], None]
    refusals: Refusals
    refused_seconds: float
    """How long a watch of a namespace that is refused seems to last."""

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

    async def pass_on(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> Shallow:
        """Make a request of kopf's, and keep from it that one namespace is refused: it would give up all of them."""
        url = request.url
        try:
            response = cast("Shallow", await handler(request))
        except BaseException:
            self.saw(url, is_good=False)
            raise
        self.saw(url, is_good=response.status < HTTP_ERROR)
        namespace = _namespace(url)
        if namespace and response.status == FORBIDDEN:
            said = message_of(await response.read()) or str(response.reason)
            self.refusals.refuse(namespace, "watch", f"GET {url.path}: {FORBIDDEN} {said}")
            response.look_empty(self.refused_seconds)
        elif namespace and response.status < HTTP_ERROR and "watch" in url.query:
            self.refusals.admit(namespace, "watch")
        return response


def _namespace(url: URL) -> str:
    """Return the namespace of which a request lists or watches the ScheduledJobs, or nothing."""
    *_, of, namespace, plural = ["", "", *url.parts]
    return namespace if (of, plural) == ("namespaces", PLURAL) else ""


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
            middlewares=[self._course.pass_on],
            response_class=Shallow,
        )
        self._sessions = [each for each in self._sessions if not each.closed] + [session]
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
