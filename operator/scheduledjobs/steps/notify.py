"""Notify: wake the other replicas, once for any number of causes, never inside a transaction that matters."""

from __future__ import annotations

import asyncio

from scheduledjobs.store.executions import notify
from scheduledjobs.store.sessions import Sessions


class Notify:
    """Channels that somebody should be woken on."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._channels: set[str] = set()
        self.wake = asyncio.Event()

    def send(self, channel: str) -> None:
        """Wake whoever listens on `channel`, soon."""
        self._channels.add(channel)
        self.wake.set()

    async def step(self) -> None:
        """Send what is asked for."""
        while self._channels:
            channel = self._channels.pop()
            async with self._sessions.session() as conn:
                await notify(conn, channel)
