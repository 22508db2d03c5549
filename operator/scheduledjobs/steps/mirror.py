"""Mirror: make job_definition equal to the resources, one batch of changes a transaction.

What arrives (from the watch, from a compare, from a change of the live handlers) goes into an inbox that holds the
newest of each uid, so a burst of edits is one version here. A batch is one transaction of the term: lock the rows,
settle what was due under the old version, then write the new one, its version row and its run request. A batch that
fails is halved until the one bad object stands alone. A change before which more is due than one transaction may fire
goes back into the inbox until that is decided, part by part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce
from typing import Any
from uuid import UUID

import structlog

from scheduledjobs.core.decide import oldest_kept
from scheduledjobs.core.plan import MILLISECOND, Judge, has_expired
from scheduledjobs.core.quota import Quotas
from scheduledjobs.core.reasons import JobState, Reason
from scheduledjobs.errors import KubeError, StoreUnavailable, TermLost
from scheduledjobs.kube.client import FORBIDDEN
from scheduledjobs.steps.halve import halving
from scheduledjobs.steps.inbox import DELETED, Change, Gone, Inbox, Seen, gone_among, read_anew, uid_of
from scheduledjobs.steps.mirror_batch import MirrorBatch, Written, joined
from scheduledjobs.steps.quota import Counted
from scheduledjobs.steps.record import Days
from scheduledjobs.steps.resume import resource_of
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.jobs import database_now
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.mirror import find_namesakes, lock_jobs
from scheduledjobs.store.sessions import Connection

log = structlog.get_logger(__name__)

BATCH = 200
DISPUTE_SECONDS = 30.0
"""How long a dispute is put off that no GET may settle: rights come back when a person gives them."""

Rows = Mapping[UUID, Mapping[str, Any]]


class Mirror:
    """The mirror of one term."""

    def __init__(
        self,
        leader: Leader,
        inbox: Inbox,
        specs: Specs,
        retention: timedelta,
        judge: Judge,
        get_resource: Callable[[str, str], Any],
        on_written: Callable[[Written], Any],
        counted: Counted | None = None,
        *,
        on_unheard: Callable[[Sequence[UUID]], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`get_resource(namespace, name)` awaits a quorum GET; `on_written` is awaited after the COMMITs of a batch.

        `counted` is what `judge` knows of quotas; `on_unheard` is told of jobs for which a COMMIT may have landed
        unheard.
        """
        self._on_unheard = on_unheard
        self._monotonic = monotonic
        self._leader = leader
        self._inbox = inbox
        self._specs = specs
        self._retention = retention
        self._judge = judge
        self._get_resource = get_resource
        self._on_written = on_written
        self._counted = counted or Counted(Quotas())
        self._unheard: set[UUID] = set()
        self._days = Days()

    async def step(self) -> float | None:
        """Mirror one batch of the inbox; return 0 while there is more."""
        if not self._leader.is_trusted():
            return None
        self._inbox.take_up(self._monotonic())
        changes = self._inbox.take(BATCH)
        if changes:
            postponed: frozenset[UUID] = frozenset()
            try:
                postponed = await self.apply(changes)
            except (TermLost, StoreUnavailable):
                self._inbox.put_back(changes)
                raise
            finally:
                self._inbox.done(postponed)
        return 0.0 if len(self._inbox) else None

    async def apply(self, changes: Sequence[Change]) -> frozenset[UUID]:
        """Mirror these changes, halving the batch around one that cannot be; return the jobs whose change goes back."""
        done: list[tuple[Written, list[Seen]]] = []
        told: set[UUID] = set()
        postponed: frozenset[UUID] = frozenset()

        async def write(part: Sequence[Change]) -> None:
            try:
                done.append(await self._write(part))
                told.update(_uids(part))
            except BaseException:
                self._days.forget()
                raise

        try:
            await halving(changes, write, _tell_bad, self._tell_unheard)
        finally:
            if done:  # all at once: none is told of less because telling of another failed
                written = reduce(joined, [written for written, _ in done])
                postponed = written.postponed
                self._inbox.put_back(change for change in changes if uid_of(change) in postponed)
                may_be_rewritten = written.is_rewritten or not told.isdisjoint(self._unheard)
                self._unheard -= told
                await self._on_written(replace(written, is_rewritten=may_be_rewritten))
        await self._settle_disputes([change for _, disputed in done for change in disputed])
        return postponed

    def _tell_unheard(self, changes: Sequence[Change]) -> None:
        """Their COMMIT may have landed: put back they bring no news then, not even that a version was rewritten."""
        self._unheard.update(_uids(changes))
        self._on_unheard(_uids(changes))

    async def _write(self, changes: Sequence[Change]) -> tuple[Written, list[Seen]]:
        async with self._leader.write() as conn:
            now = await database_now(conn)
            seen = [change for change in changes if isinstance(change, Seen)]
            namesakes = await find_namesakes(conn, [_identity(change) for change in seen])
            disputed = {uid for uid in namesakes if not _is_quorum(seen, uid)} - gone_among(changes).keys()
            replaced = [
                namesakes[c.resource.meta.uid] for c in seen if c.is_quorum and c.resource.meta.uid in namesakes
            ]
            rows = await lock_jobs(conn, [*_uids(changes), *replaced])
            resumed = await self._end_pauses(conn, rows, now - MILLISECOND)
            if resumed is not None:
                rows = await lock_jobs(conn, list(rows))
            batch = self._batch(conn, rows, now)
            agreed = [change for change in seen if change.resource.meta.uid not in disputed]
            removed = {**dict.fromkeys([*replaced, *_deleting(agreed)], DELETED), **gone_among(changes)}
            news = [c.resource for c in agreed if not c.resource.is_deleting and self._is_news(rows, c)]
            self._counted.count(news, removed)
            for uid in sorted(removed):
                batch.remove(uid, removed[uid])
            for resource in news:
                batch.put(resource)
            written = await batch.write()
            if resumed is not None:
                written = joined(resumed, written)
        return written, [change for change in seen if change.resource.meta.uid in disputed]

    async def _end_pauses(self, conn: Connection, rows: Rows, now: datetime) -> Written | None:
        """End the pauses whose time is over before anything else changes: what came after them was due.

        `now` is just before the changes, or a version of theirs would take the place of the one that says so.
        """
        expired = {uid: row for uid, row in rows.items() if has_expired(row, now)}
        if not expired:
            return None
        batch = self._batch(conn, expired, now)
        for row in expired.values():
            batch.put(resource_of(row))
        return await batch.write()

    def _batch(self, conn: Connection, rows: Rows, now: datetime) -> MirrorBatch:
        keep_from = oldest_kept(self._retention, now)
        return MirrorBatch(conn, rows, self._specs, self._days, self._judge, keep_from, now)

    def _is_news(self, rows: Rows, change: Seen) -> bool:
        row = rows.get(change.resource.meta.uid)
        if row is None:
            return True
        return not _is_stale(row, change) and (_is_news(row, change) or self._counted.is_misjudged(row))

    async def _settle_disputes(self, disputed: Sequence[Seen]) -> None:
        """Two uids under one name: a GET says which of them lives. Without an answer they are disputed again.

        A namespace that is refused may be so for long: its disputes are put off, and nothing else waits for them.
        """
        refused: set[str] = set()
        for number, change in enumerate(disputed):
            meta = change.resource.meta
            if meta.namespace not in refused:
                try:
                    living = await read_anew(self._inbox, self._get_resource, meta.namespace, meta.name)
                except KubeError as error:
                    if error.status != FORBIDDEN:
                        self._inbox.put_back(disputed[number:])
                        raise
                    refused.add(meta.namespace)
                    _tell_put_off(change, error)
                else:
                    if living is not None:
                        self._inbox.put(Seen(living, is_quorum=True))
                    continue
            self._inbox.put_aside([change], self._monotonic() + DISPUTE_SECONDS)


def _is_stale(row: Mapping[str, Any], change: Seen) -> bool:
    """Whether a change would go back or revive, and may not: nothing that a quota says of the job makes it newer."""
    is_older = change.resource.meta.resource_version < row["resource_version"]
    return not change.is_quorum and (is_older or row["state"] == JobState.DELETED)


def _is_news(row: Mapping[str, Any], change: Seen) -> bool:
    meta = change.resource.meta
    same = meta.generation == row["version"] and dict(meta.annotations) == row["annotations"]
    if change.is_quorum:  # after a restore of etcd the numbers of versions and generations are used again
        same = same and change.resource.spec == row["spec"] and meta.resource_version >= row["resource_version"]
    is_open = row["state"] == JobState.DELETED or row["reason"] == Reason.FIRE_FAILED
    return not same or change.judge_again or is_open


def _is_quorum(seen: Sequence[Seen], uid: UUID) -> bool:
    return any(change.is_quorum for change in seen if change.resource.meta.uid == uid)


def _deleting(seen: Sequence[Seen]) -> set[UUID]:
    return {change.resource.meta.uid for change in seen if change.resource.is_deleting}


def _uids(changes: Sequence[Change]) -> list[UUID]:
    return [uid_of(change) for change in changes]


def _identity(change: Seen) -> dict[str, Any]:
    meta = change.resource.meta
    return {"id": meta.uid, "namespace": meta.namespace, "name": meta.name}


def _tell_bad(change: Change, error: Exception) -> None:
    meta = change if isinstance(change, Gone) else change.resource.meta
    log.error("resource cannot be mirrored", namespace=meta.namespace, job=meta.name, exc_info=error)


def _tell_put_off(change: Seen, error: KubeError) -> None:
    meta = change.resource.meta
    log.warning(
        "a dispute is put off",
        namespace=meta.namespace,
        job=meta.name,
        error=str(error),
        retry_seconds=DISPUTE_SECONDS,
    )
