"""Announce: tell people of what went wrong, by Events on the resource; none for a success.

A job that fails every second must not flood the cluster: one Event per job, type and reason in a minute, a bounded
queue, a bounded pace. What is dropped, or refused, is counted in the next note of its kind. One that met an outage is
tried again, behind those of other namespaces: it may be an outage of this namespace alone, as of its admission webhook.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog

from scheduledjobs.core.reasons import Reason
from scheduledjobs.core.resource import ResourceMeta
from scheduledjobs.errors import Conflict, KubeError, KubeUnavailable
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.kube.events import event_name, post_event

log = structlog.get_logger(__name__)

MOST_QUEUED = 1000
MOST_REMEMBERED = 10_000
PER_STEP = 20
PASS_SECONDS = 10.0
"""How long a pass goes on, and then ends with the Event that is on its way: one that waits for a slow API server would
seem to stand still."""

QUIET_SECONDS = 60.0


Kind = tuple[UUID, Reason, bool]
"""Job, reason, and whether it is a warning: what a suspension came too late for does not hide the suspension."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """One Event to write: a `warning` or not, about one resource."""

    meta: ResourceMeta
    reason: Reason
    note: str
    warning: bool
    unsaid: int
    """How many of its kind were dropped before it."""

    said_at: datetime
    name: str
    """The same at each try: one whose answer was lost is not written twice."""


class Announce:
    """The Events of one term."""

    def __init__(self, kube: KubeClient, instance: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._instance = instance
        self._monotonic = monotonic
        self._queue: deque[Announcement] = deque()
        self._last: OrderedDict[Kind, float] = OrderedDict()
        self._held_back: dict[Kind, int] = {}
        self.wake = asyncio.Event()

    def say(self, meta: ResourceMeta, reason: Reason, note: str, *, warning: bool = True) -> None:
        """Queue an Event, unless this job had one of this type and reason within the last minute."""
        key, now = (meta.uid, reason, warning), self._monotonic()
        if now - self._last.get(key, float("-inf")) < QUIET_SECONDS:
            self._held_back[key] = self._held_back.get(key, 0) + 1
            return
        self._last[key] = now
        self._last.move_to_end(key)
        if len(self._last) > MOST_REMEMBERED:
            self._held_back.pop(self._last.popitem(last=False)[0], None)
        if len(self._queue) >= MOST_QUEUED:
            self._hold_back(self._queue.popleft())
        unsaid, name = self._held_back.pop(key, 0), event_name(meta)
        self._queue.append(Announcement(meta, reason, note, warning, unsaid, datetime.now(UTC), name))
        self.wake.set()

    async def step(self) -> float | None:
        """Write a few of the queued Events; the others wait for later passes. `KubeUnavailable` in an outage."""
        until = self._monotonic() + PASS_SECONDS
        for _ in range(min(PER_STEP, len(self._queue))):
            if self._monotonic() >= until:
                break
            event = self._queue.popleft()
            try:
                await self._post(event)
            except KubeUnavailable:
                self._put_back(event)
                raise
            except Conflict:
                pass  # it was written by a try whose answer was lost
            except KubeError as error:  # the others must not wait for it
                log.warning("event refused", namespace=event.meta.namespace, job=event.meta.name, error=str(error))
                self._hold_back(event)
        return None

    async def _post(self, event: Announcement) -> None:
        await post_event(
            self._kube,
            event.meta,
            event.name,
            type_="Warning" if event.warning else "Normal",
            reason=event.reason,
            note=f"{event.note} ({event.unsaid} more since)" if event.unsaid else event.note,
            instance=self._instance,
            said_at=event.said_at,
        )

    def _put_back(self, event: Announcement) -> None:
        """Have it wait for another try, and its namespace with it: behind the others, which may fare better."""
        if len(self._queue) >= MOST_QUEUED:
            self._hold_back(event)
        else:
            self._queue.appendleft(event)
        namespace = event.meta.namespace
        self._queue = deque(sorted(self._queue, key=lambda one: one.meta.namespace == namespace))

    def _hold_back(self, event: Announcement) -> None:
        key = event.meta.uid, event.reason, event.warning
        if key in self._last:  # else it is long ago, or there are too many to remember
            self._held_back[key] = self._held_back.get(key, 0) + 1 + event.unsaid
