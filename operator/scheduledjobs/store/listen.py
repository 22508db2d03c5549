"""LISTEN on a connection of its own: wake-ups from other replicas. A lost one costs the poll interval, nothing else.

Silence is what this connection mostly hears, so it is asked for a sign of life in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psycopg import sql

from scheduledjobs.store.sessions import PATIENCE_SECONDS, connect

SIGN_SECONDS = 5.0
ANSWER_SECONDS = PATIENCE_SECONDS
LISTENING = {"statement_timeout": "2500ms"}


async def listen(url: str, channels: Sequence[str], on_notify: Callable[[str], None]) -> None:
    """Call `on_notify(channel)` for every notification until cancelled; `StoreUnavailable` when the link breaks."""
    async with connect(url, "scheduledjobs listen", **LISTENING) as conn:
        for channel in channels:
            with conn.bounded(ANSWER_SECONDS):
                await conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            on_notify(channel)  # what came before we listened
        while True:
            async for notification in conn.notifies(timeout=SIGN_SECONDS):
                on_notify(notification.channel)
            with conn.bounded(ANSWER_SECONDS):
                await conn.execute("SELECT 1")
