"""What the web process counts, for its replica to serve: by the template of a route, never by the path that was asked.

A path holds names, and whatever a stranger writes into it; there are some sixty templates.
"""

from __future__ import annotations

from http import HTTPStatus
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
WAIT_SECONDS = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE = "none"
OTHER = "other"

OWN = CollectorRegistry()
"""Not the one of every process: what a library registers there would be served twice, by replica and web process."""

ProcessCollector(namespace="scheduledjobs_web", registry=OWN)
REQUESTS = Counter(
    "scheduledjobs_web_requests_total",
    "Requests of REST and pages, by route, method and class of status",
    ["route", "method", "status"],
    registry=OWN,
)
DURATION = Histogram(
    "scheduledjobs_web_request_duration_seconds",
    "How long requests took, to the last byte",
    ["route"],
    buckets=SECONDS,
    registry=OWN,
)
IN_FLIGHT = Gauge("scheduledjobs_web_requests_in_flight", "Requests that are being answered", registry=OWN)
NOT_MODIFIED = Counter(
    "scheduledjobs_web_not_modified_total", "Answers 304: nothing had changed, and no query was made", registry=OWN
)
SESSIONS = Gauge("scheduledjobs_web_sessions_in_use", "Sessions of the database that reads hold", registry=OWN)
SESSION_WAIT = Histogram(
    "scheduledjobs_web_session_wait_seconds",
    "How long reads waited for a session",
    buckets=WAIT_SECONDS,
    registry=OWN,
)


def exposition() -> bytes:
    """Return it all in the text form of Prometheus."""
    return generate_latest(OWN)


class Measured:
    """Counts requests and their answers; outermost, so it sees what was made of every error."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count it once it is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = perf_counter()
        try:
            with IN_FLIGHT.track_inprogress():
                await self._app(scope, receive, seen)
        finally:
            _count(scope, status, perf_counter() - began)


def _count(scope: Scope, status: int, seconds: float) -> None:
    route = str(getattr(scope.get("route"), "path", NO_ROUTE))
    method = scope["method"] if scope["method"] in METHODS else OTHER
    REQUESTS.labels(route=route, method=method, status=f"{status // 100}xx").inc()
    DURATION.labels(route=route).observe(seconds)
    if status == HTTPStatus.NOT_MODIFIED:
        NOT_MODIFIED.inc()
