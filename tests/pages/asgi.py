"""Call an ASGI application in this process, message by message, as a server would."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message


@dataclass(frozen=True)
class Answer:
    """What the application sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


async def call(
    app: ASGIApp,
    verb: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | Sequence[bytes] = b"",
    scheme: str = "http",
) -> Answer:
    """Make one request; a `body` of several chunks comes without its length."""
    path, _, query = url.partition("?")
    sent = {"host": "jobs.example", **{key.lower(): value for key, value in (headers or {}).items()}}
    if isinstance(body, bytes):
        sent.setdefault("content-length", str(len(body)))
    chunks = [body] if isinstance(body, bytes) else list(body)
    came = [
        {"type": "http.request", "body": chunk, "more_body": index + 1 < len(chunks)}
        for index, chunk in enumerate(chunks)
    ]
    went: list[Message] = []

    async def receive() -> Message:
        return came.pop(0) if came else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        went.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": verb,
        "scheme": scheme,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(key.encode(), value.encode()) for key, value in sent.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    begins = [message for message in went if message["type"] == "http.response.start"]
    assert len(begins) == 1, went
    content = b"".join(message.get("body", b"") for message in went if message["type"] == "http.response.body")
    found = {key.decode().lower(): value.decode() for key, value in begins[0]["headers"]}
    return Answer(begins[0]["status"], found, content)
