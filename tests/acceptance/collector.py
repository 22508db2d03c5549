"""An OTLP collector and an HTTP target on loopback, for replicas that are processes of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Server:
    """A server that keeps what it is sent, and answers by a list of statuses, the last one again and again."""

    statuses: list[int]
    url: str = ""
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Keep a request and return the status of its answer."""
        self.asked.append((path, headers, body))
        self.may_answer.wait(60)
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    def spans(self) -> list[tuple[Span, dict[str, str]]]:
        """Return every span that was exported to it, each with its attributes and those of its resource."""
        found = []
        for _, _, body in list(self.asked):
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                shared = {each.key: each.value.string_value for each in of_resource.resource.attributes}
                for scope in of_resource.scope_spans:
                    for span in scope.spans:
                        own = {each.key: _text(each.value) for each in span.attributes}
                        found.append((span, {**shared, **own}))
        return found


def _text(value: object) -> str:
    kind = value.WhichOneof("value")  # type: ignore[attr-defined]
    return str(getattr(value, kind))


@contextmanager
def serving(*statuses: int) -> Iterator[Server]:
    """Lend a server."""
    server = Server(list(statuses) or [200])
    server.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status = server.answer(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    server.url = f"http://127.0.0.1:{made.server_address[1]}"
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.may_answer.set()
        made.shutdown()
        made.server_close()
        thread.join(5)
