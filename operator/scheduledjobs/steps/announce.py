"""Announce: tell people of what went wrong, by Events on the resource; none for a success.

A job that fails every second must not flood the cluster: one Event per job and reason in a minute, a bounded queue,
a bounded pace. What is dropped is counted in the next note of its kind.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from scheduledjobs.core.reasons import Reason
from scheduledjobs.core.resource import ResourceMeta
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.kube.events import post_event

MOST_QUEUED = 1000
MOST_REMEMBERED = 10_000
PER_STEP = 20
PASS_SECONDS = 10.0
"""How long a pass goes on, and then ends with the Event that is on its way: one that waits for a slow API server would
seem to stand still."""

QUIET_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Announcement:
    """One Event to write: a `warning` or not, about one resource."""

    meta: ResourceMeta
    reason: Reason
    note: str
    warning: bool


class Announce:
    """The Events of one term."""

    def __init__(self, kube: KubeClient, instance: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._instance = instance
        self._monotonic = monotonic
        self._queue: deque[Announcement] = deque(maxlen=MOST_QUEUED)
        self._last: OrderedDict[tuple[UUID, Reason], float] = OrderedDict()
        self._held_back: dict[tuple[UUID, Reason], int] = {}
        self.wake = asyncio.Event()

    def say(self, meta: ResourceMeta, reason: Reason, note: str, *, warning: bool = True) -> None:
        """Queue an Event, unless this job had one of this reason within the last minute."""
        key, now = (meta.uid, reason), self._monotonic()
        if now - self._last.get(key, float("-inf")) < QUIET_SECONDS:
            self._held_back[key] = self._held_back.get(key, 0) + 1
            return
        self._last[key] = now
        self._last.move_to_end(key)
        if len(self._last) > MOST_REMEMBERED:
            self._held_back.pop(self._last.popitem(last=False)[0], None)
        unsaid = self._held_back.pop(key, 0)
        self._queue.append(Announcement(meta, reason, f"{note} ({unsaid} more since)" if unsaid else note, warning))
        self.wake.set()

    async def step(self) -> float | None:
        """Write a few of the queued Events; the others wait for later passes."""
        until = self._monotonic() + PASS_SECONDS
        for _ in range(min(PER_STEP, len(self._queue))):
            if self._monotonic() >= until:
                break
            event = self._queue.popleft()
            await post_event(
                self._kube,
                event.meta,
                type_="Warning" if event.warning else "Normal",
                reason=event.reason,
                note=event.note,
                instance=self._instance,
                now=datetime.now(UTC),
            )
        return None
