"""The web's sessions of the database: read only, few, and metered, since a page that is slow may only have waited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

from scheduledjobs.store.sessions import Connection, Sessions
from scheduledjobs.web import meter


class WebSessions(Sessions):
    """Sessions that say how many of them are in use, and how long they were waited for."""

    @asynccontextmanager
    async def session(self, patience: float | None = None) -> AsyncIterator[Connection]:
        """Lend a connection in autocommit, as `Sessions` does."""
        began = perf_counter()
        async with super().session(patience) as conn:
            meter.SESSION_WAIT.observe(perf_counter() - began)
            with meter.SESSIONS.track_inprogress():
                yield conn


def web_sessions(url: str) -> WebSessions:
    """Return the sessions of the web: read only, and given up by the server before a person gives up."""
    return WebSessions(
        url,
        "scheduledjobs web",
        size=4,
        patience=6.0,
        statement_timeout="5s",
        lock_timeout="2s",
        idle_in_transaction_session_timeout="5s",
        default_transaction_read_only="on",
        plan_cache_mode="force_generic_plan",  # to plan anew over a month of partitions costs more than the answer
    )
