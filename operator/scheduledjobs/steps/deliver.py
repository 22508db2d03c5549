"""Deliver: send to one webhook what waits for it, grouped, until it has arrived.

Each webhook has a loop of its own, so one that hangs or refuses delays no other. What a message holds is written down
before it is first sent; it is sent again, with the same id, until the webhook answers 2xx, says that it will never take
it, or a day has passed. A leader that dies in between leaves it to the next one: it arrives at least once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from scheduledjobs import metrics
from scheduledjobs.core.grouping import GIVE_UP_AFTER, message_of, retry_in, wait_for
from scheduledjobs.core.notice_forms import LISTED, body_of
from scheduledjobs.core.notices import Webhook
from scheduledjobs.errors import WebhookError
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.notices import count_notices, load_notices, look_at_notices, seal_notices, settle_message
from scheduledjobs.store.queries import Row
from scheduledjobs.webhooks.post import post

log = structlog.get_logger(__name__)

EVERY_SECONDS = 30.0
"""How often a webhook for which nothing waits is looked at all the same."""

LONGEST_PAUSE_SECONDS = 30.0

MOST_AT_ONCE = 5000
"""How many notices one transaction puts into a message: far fewer than the five seconds of a leader's would do."""


class Deliver:
    """What one webhook is sent in one term."""

    def __init__(
        self,
        leader: Leader,
        name: str,
        webhook: Webhook,
        source: str,
        public_url: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leader = leader
        self._name = name
        self._webhook = webhook
        self._source = source
        self._public_url = public_url
        self._monotonic = monotonic
        self._not_before = float("-inf")
        self.wake = asyncio.Event()
        for result in ("sent", "failed", "dropped"):  # a counter that begins at its first failure shows no increase
            metrics.NOTICES.labels(webhook=name, result=result)
        metrics.FOLDED.labels(webhook=name)

    async def step(self) -> float | None:
        """Send a message if one is due; return how long to wait, None while nothing waits."""
        rest = self._not_before - self._monotonic()
        if not self._leader.is_trusted():
            return 1.0
        if rest > 0:
            return min(rest, LONGEST_PAUSE_SECONDS)
        async with self._leader.session() as conn:
            found = await look_at_notices(conn, self._name)
        if found["message_id"] is None:
            metrics.NOTICE_AGE.labels(webhook=self._name).set(0)
            if found["execution_id"] is None:
                return None
            wait = self._wait(found)
            if wait > timedelta(0):
                return min(wait.total_seconds(), LONGEST_PAUSE_SECONDS)
            return await self._seal(f"{self._name}-{found['execution_id']}-{found['kind']}")
        if found["sealed_at"] is None:
            return await self._seal(found["message_id"])
        metrics.NOTICE_AGE.labels(webhook=self._name).set(found["sealed_seconds"])
        await self._send(found)
        return 0.0

    async def _seal(self, message_id: str) -> float:
        async with self._leader.write() as conn:
            moved = await seal_notices(conn, self._name, message_id, MOST_AT_ONCE)
        return 0.0 if moved else 1.0

    def _wait(self, found: Row) -> timedelta:
        last = found["since_last_seconds"]
        return wait_for(
            timedelta(seconds=found["waited_seconds"]),
            None if last is None else timedelta(seconds=last),
            self._webhook.collect,
            self._webhook.every,
        )

    async def _send(self, found: Row) -> None:
        body = await self._body(found["message_id"], found["sealed_at"])
        try:
            await post(self._webhook, body, datetime.now(UTC))
        except WebhookError as error:
            await self._on_failure(found, error)
            return
        await self._settle(found, "SENT", None)
        metrics.NOTICES.labels(webhook=self._name, result="sent").inc()
        metrics.NOTICE_AGE.labels(webhook=self._name).set(0)

    async def _body(self, message_id: str, sealed_at: datetime) -> dict[str, Any]:
        async with self._leader.session() as conn:
            notices = await load_notices(conn, message_id)
            counts = await count_notices(conn, message_id)
        form = self._webhook.format
        message = message_of(message_id, sealed_at, notices, counts, LISTED[form])
        return body_of(message, form, self._source, self._public_url)

    async def _on_failure(self, found: Row, error: WebhookError) -> None:
        attempts, age = found["attempts"] + 1, timedelta(seconds=found["sealed_seconds"])
        gives_up = error.is_final or age >= GIVE_UP_AFTER
        metrics.NOTICES.labels(webhook=self._name, result="dropped" if gives_up else "failed").inc()
        await self._settle(found, "DROPPED" if gives_up else None, str(error))
        wait = retry_in(attempts, error.retry_after)
        if gives_up:
            log.warning("a notice is given up", webhook=self._name, error=str(error), failures=attempts)
        elif attempts & (attempts - 1) == 0:  # the 1st, 2nd, 4th...: the log must not fill
            log.warning("a notice did not arrive", webhook=self._name, error=str(error), failures=attempts)
        if not gives_up:
            self._not_before = self._monotonic() + wait.total_seconds()

    async def _settle(self, found: Row, result: str | None, error: str | None) -> None:
        async with self._leader.write() as conn:
            await settle_message(conn, found["message_id"], result, error)
