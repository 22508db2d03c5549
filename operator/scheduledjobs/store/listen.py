"""LISTEN on a connection of its own: wake-ups from other replicas. A lost one costs the poll interval, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psycopg import sql

from scheduledjobs.errors import StoreUnavailable
from scheduledjobs.store.sessions import connect


async def listen(url: str, channels: Sequence[str], on_notify: Callable[[str], None]) -> None:
    """Call `on_notify(channel)` for every notification until cancelled; `StoreUnavailable` when the link breaks."""
    async with connect(url, "scheduledjobs listen") as conn:
        for channel in channels:
            await conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            on_notify(channel)  # what came before we listened
        async for notification in conn.notifies():
            on_notify(notification.channel)
    raise StoreUnavailable("the listening connection ended")
