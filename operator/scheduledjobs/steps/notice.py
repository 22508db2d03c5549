"""Notice: find what webhooks are to be told of, and write it down for delivery. Only where there is a webhook.

It reads what has ended, whoever wrote it, so that nothing is added to a completion. Each look begins a little before
where the last one came to, and every few seconds one goes back as far as a completion may have been written late
(`Looks`); what was noticed before is known by its key. A failure that is written later still is noted by its replica
(`settle_awaited`). How far all was noticed is kept in the database, and the next leader goes on from there: a notice is
neither lost nor written twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from scheduledjobs import metrics
from scheduledjobs.core.grouping import LOOK_BACK, Looks
from scheduledjobs.core.notice_forms import plain
from scheduledjobs.core.notices import Kind, Recipients, kind_of
from scheduledjobs.core.reasons import State
from scheduledjobs.errors import StoreError
from scheduledjobs.store.jobs import database_now
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.notices import (
    find_long_runs,
    find_noticeable,
    fold_notices,
    insert_awaited,
    insert_notices,
    read_notice_cursor,
    recover_failing,
    settle_awaited,
    upsert_failing,
    write_notice_cursor,
)
from scheduledjobs.store.queries import Row

EVERY_SECONDS = 1.0
WIDE_SECONDS = 5.0
"""How often a look goes back to where completions may have been written late, and long runs are looked for."""

PAGE = 2000
MOST_PAGES = 10
"""How many rows one pass takes at most: the next one goes on from there."""

MOST_WAITING = 1000
"""How many notices that wait for a webhook are kept to be listed; older ones are counted only."""

NO_LIMIT = timedelta(days=36_500)


FIRST = datetime.min.replace(tzinfo=UTC), 0


@dataclass(frozen=True, slots=True)
class Look:
    """One look: at what ended since `since`, made at the database's `now`, and come to `after` (finished_at, id)."""

    since: datetime
    now: datetime
    began_at: float
    is_wide: bool
    after: tuple[datetime, int] = FIRST
    is_second: bool = False


@dataclass(slots=True)
class Found:
    """What a page of ended rows comes to; of recovered jobs the fire time and the end of the success."""

    notices: list[dict[str, Any]] = field(default_factory=list)
    failing: dict[UUID, datetime] = field(default_factory=dict)
    recovered: dict[UUID, tuple[datetime, datetime]] = field(default_factory=dict)
    awaited: dict[int, datetime] = field(default_factory=dict)


class Notice:
    """The notices of one term; `on_noticed(webhook)` is called when something waits for it."""

    def __init__(
        self,
        leader: Leader,
        recipients: Recipients,
        on_noticed: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leader = leader
        self._recipients = recipients
        self._on_noticed = on_noticed
        self._monotonic = monotonic
        self._looks: Looks | None = None
        self._look: Look | None = None
        self._wide_at = float("-inf")
        self._waiting: Counter[str] = Counter()
        self._is_failing_anew = False
        self._is_refused = False
        """The database could not be read or written the last time: nor could a replica write what ended."""

    async def step(self) -> float | None:
        """Look once; return 0 if there is more than one pass takes."""
        try:
            look = await self._go_on()
        except StoreError:
            self._is_refused = True
            raise
        if look is None:
            return 0.0
        if look.is_wide:
            await self._find_long_runs()
        return None

    async def _go_on(self) -> Look | None:
        """Read on; return the look that came to its end with it, None if there is more of it."""
        began_at = self._monotonic()
        looks = self._looks = self._looks or await self._begin(began_at)
        look = self._look or await self._new_look(looks, began_at)
        self._look = await self._read(look)
        if self._look is not None:
            return None
        if self._is_failing_anew and not look.is_second:  # their first success may have been read past
            self._look = replace(look, after=FIRST, is_second=True)
            return None
        self._is_failing_anew = False
        is_trusted = self._leader.is_trusted() and not self._is_refused
        looks = looks.after(look.now, look.began_at, is_trusted=is_trusted)
        if look.is_wide:
            await self._settle_awaited()
            async with self._leader.write() as conn:
                await write_notice_cursor(conn, looks.since)
        self._looks, self._is_refused = looks, False  # not before: where this is refused, so are completions
        return look

    async def _begin(self, now: float) -> Looks:
        """Go on where the leader before came to; where nobody ever was, from now."""
        async with self._leader.session() as conn:
            since = await read_notice_cursor(conn) or await database_now(conn)
        async with self._leader.write() as conn:
            await write_notice_cursor(conn, since)
        return Looks(((now, since),))

    async def _new_look(self, looks: Looks, began_at: float) -> Look:
        # While nobody is declared dead the place to go back to stands still: to read from there again and again would
        # cost ever more. It is read from once the leader is trusted again.
        is_wide = self._leader.is_trusted() and began_at - self._wide_at >= WIDE_SECONDS
        if is_wide:
            self._wide_at = began_at  # also where it fails: while that goes on, each reads more than the one before it
        async with self._leader.session() as conn:
            now = await database_now(conn)
        since = min(now, looks.since if is_wide else looks.newest) - LOOK_BACK
        return Look(since, now, began_at, is_wide)

    async def _read(self, look: Look) -> Look | None:
        """Notice what a look finds; return from where it is to go on, None if that was all."""
        after = look.after
        for _ in range(MOST_PAGES):
            async with self._leader.session() as conn:
                rows = await find_noticeable(conn, look.since, after, PAGE)
            await self._write(rows)
            if len(rows) < PAGE:
                return None
            after = rows[-1]["finished_at"], rows[-1]["id"]
        return replace(look, after=after)

    async def _write(self, rows: Sequence[Row]) -> None:
        found = Found()
        for number, row in enumerate(rows):
            if number % 50 == 0:
                await asyncio.sleep(0)  # what is due is not to wait
            self._take(found, row)
        if found.awaited:
            async with self._leader.write() as conn:
                await insert_awaited(conn, found.awaited)
        new: list[str] = []
        for begin in range(0, len(found.notices), PAGE):
            async with self._leader.write() as conn:
                new += await insert_notices(conn, found.notices[begin : begin + PAGE])
        if found.failing or found.recovered:
            async with self._leader.write() as conn:
                self._is_failing_anew |= bool(await upsert_failing(conn, found.failing))
                await recover_failing(conn, found.recovered)
        await self._tell(new)

    def _take(self, found: Found, row: Row) -> None:
        kind = kind_of(State(row["state"]), row["reason"])
        if kind is None:
            return
        if _may_follow(row):
            found.awaited[row["id"]] = row["fire_time"]
            return
        job, fire_time, annotations = row["job_id"], row["fire_time"], row["annotations"] or {}
        if kind is Kind.RECOVERY:
            if job in found.recovered or row["failing"] is None or row["failing"] >= fire_time:
                return
            found.recovered[job] = fire_time, row["finished_at"]
        elif kind is Kind.FAILURE and self._recipients.of(Kind.RECOVERY, row["namespace"], annotations):
            found.failing[job] = max(fire_time, found.failing.get(job, fire_time))
        told = self._recipients.of(kind, row["namespace"], annotations)
        found.notices += _notices(kind, row, row["finished_at"], told)

    async def _settle_awaited(self) -> None:
        """Notice the ends that a retry was to follow, and none does: it was called off, or could not be any more; and
        those that were written late.

        A look cannot find them, since their `finished_at` is long past by then. Of many the others wait for the next
        wide look.
        """
        found = Found()
        async with self._leader.write() as conn:  # one transaction: they are forgotten only if they are noticed
            for row in await settle_awaited(conn, PAGE):
                self._take(found, row)
            new = await insert_notices(conn, found.notices)
            if found.failing:
                self._is_failing_anew |= bool(await upsert_failing(conn, found.failing))
        await self._tell(new)

    async def _find_long_runs(self) -> None:
        """Notice what has run for long. All that runs is looked at, for each webhook has a time of its own; there is no
        more of it than replicas have slots."""
        shortest = (self._recipients.shortest_run or NO_LIMIT).total_seconds()
        after, is_last = FIRST, False
        while not is_last:
            async with self._leader.session() as conn:
                rows = await find_long_runs(conn, shortest, after, PAGE)
            notices = [notice for row in rows for notice in self._long_run(row)]
            if notices:
                async with self._leader.write() as conn:
                    new = await insert_notices(conn, notices)
                await self._tell(new)
            is_last = len(rows) < PAGE
            after = after if is_last else (rows[-1]["started_at"], rows[-1]["id"])

    def _long_run(self, row: Row) -> Iterator[dict[str, Any]]:
        ran = timedelta(seconds=row["ran_seconds"])
        late = self._recipients.late_for(ran, row["namespace"], row["annotations"] or {})
        untold = [webhook for webhook in late if webhook not in row["told"]]
        return _notices(Kind.LONG_RUN, row, row["started_at"] + ran, untold)

    async def _tell(self, webhooks: Iterable[str]) -> None:
        """Say that something waits; of more than is ever listed, the oldest are counted only."""
        for webhook, count in Counter(webhooks).items():
            self._waiting[webhook] += count
            if self._waiting[webhook] > MOST_WAITING:
                async with self._leader.write() as conn:
                    folded = await fold_notices(conn, webhook, MOST_WAITING)
                self._waiting[webhook] = 0 if folded else count
                metrics.FOLDED.labels(webhook=webhook).inc(folded)
            self._on_noticed(webhook)


def _may_follow(row: Mapping[str, Any]) -> bool:
    """Whether an attempt may follow: one whose code still runs is tried again when that returns."""
    if not row["abandoned"] or row["cancel_reason"] is not None:
        return False
    try:
        return bool(row["attempt"] <= int((row["retry"] or {}).get("limit", 0)))
    except (AttributeError, TypeError, ValueError):
        return False


def _notices(kind: Kind, row: Row, at: datetime, webhooks: Iterable[str]) -> Iterator[dict[str, Any]]:
    for webhook in webhooks:
        yield {
            "execution_id": row["id"],
            "kind": kind,
            "webhook": webhook,
            "occurred_at": at,
            "message": plain(row["message"]) if row["message"] else None,
            "moment_count": row["moment_count"] or 1,
            **{
                name: row[name]
                for name in ("namespace", "job_name", "job_id", "fire_time", "state", "reason", "attempt")
            },
        }
