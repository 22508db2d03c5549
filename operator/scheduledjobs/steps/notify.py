"""Notify: wake the other replicas, once for any number of causes, never inside a transaction that matters.

What only tells that something has changed, for people who look on, is sent seldom: the first time at once, what follows
within a second together at its end. So it costs the same however much happens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from scheduledjobs.store.executions import notify
from scheduledjobs.store.sessions import Sessions

QUIET_SECONDS = 1.0


class Notify:
    """Channels that somebody should be woken on."""

    def __init__(self, sessions: Sessions, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._sessions = sessions
        self._monotonic = monotonic
        self._channels: set[str] = set()
        self._seldom: set[str] = set()
        self._quiet_until: dict[str, float] = {}
        self.wake = asyncio.Event()

    def send(self, channel: str) -> None:
        """Wake whoever listens on `channel`, soon."""
        self._channels.add(channel)
        self.wake.set()

    def send_seldom(self, channel: str) -> None:
        """Wake whoever listens on `channel`, at most once a second: soon, or when the second is over."""
        if channel not in self._seldom:
            self._seldom.add(channel)
            self.wake.set()

    async def step(self) -> float | None:
        """Send what is asked for; return the seconds until what must wait may be sent."""
        while self._channels:
            await self._send(self._channels.pop())
        now = self._monotonic()
        self._quiet_until = {channel: at for channel, at in self._quiet_until.items() if at > now}
        for channel in self._seldom - self._quiet_until.keys():
            self._quiet_until[channel] = now + QUIET_SECONDS  # failed or not: an outage must not make it often
            self._seldom.discard(channel)  # before it is sent: what changes meanwhile is told the next time
            try:
                await self._send(channel)
            except BaseException:
                self._seldom.add(channel)
                raise
        return min(self._quiet_until.values()) - now if self._quiet_until else None

    async def _send(self, channel: str) -> None:
        async with self._sessions.session() as conn:
            await notify(conn, channel)
