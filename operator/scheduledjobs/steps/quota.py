"""Quota: which jobs are over the quota of their namespace, kept by the one who mirrors them.

Each change that is mirrored is counted before it is judged, so a flood is never active, not even for a moment. Where a
change moves the place at which a quota ends, the jobs between the old place and the new one are judged anew, through
the mirror's inbox. What is counted is loaded at the start of a term, so it is right whatever became of the last one.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from scheduledjobs.core.namespaces import EVERYBODY
from scheduledjobs.core.quota import Line, Place, Quotas, fires_per_hour, line, over
from scheduledjobs.core.reasons import JobState, Reason
from scheduledjobs.core.resource import Resource
from scheduledjobs.steps.resume import resource_of
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.mirror import load_places, load_resources
from scheduledjobs.store.sessions import Connection

EVERY_SECONDS = 1.0
BATCH = 200
PAGE = 500
NOBODY = UUID(int=0)


class Counted:
    """The jobs of every namespace that has a quota, by age; and where each quota ends among them."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._places: dict[UUID, tuple[str, Place]] = {}
        self._by_age: dict[str, list[Place]] = defaultdict(list)
        self._lines: dict[str, Line | None] = {}
        self._touched: set[str] = set()
        self.doubted: dict[UUID, None] = {}
        """Jobs to be judged anew: the end of their namespace's quota has passed over them."""

        self.is_loaded = not quotas.counts_jobs
        """Nothing may be judged before. Where no namespace has a quota on jobs or fires, nothing is counted at all."""

        self.wake = asyncio.Event()

    async def load(self, conn: Connection) -> None:
        """Count the jobs that the mirror has; doubt those whose state says otherwise. Others of this loop go on."""
        if self.is_loaded:
            return
        for known in (self._places, self._by_age, self._lines, self.doubted):
            known.clear()  # of a load that failed halfway
        names = set(self._quotas.by_namespace)
        after, namespaces = NOBODY, None if EVERYBODY in names else sorted(names)
        told_over, wrong = set(), set()
        while rows := await load_places(conn, after, namespaces, PAGE):
            for row in rows:
                self._places[row["id"]] = namespace, place = row["namespace"], _place(row["id"], row)
                self._by_age[namespace].append(place)
            told_over |= {row["id"] for row in rows if row["reason"] == Reason.QUOTA_EXCEEDED}
            wrong |= {row["id"] for row in rows if row["state"] == JobState.INVALID}
            after = rows[-1]["id"]
            await asyncio.sleep(0)
        for namespace, places in self._by_age.items():
            places.sort()
            self._lines[namespace] = line(places, self._quotas.of(namespace), namespace)
            over_now = {place.id for place in places if self._message(namespace, place)}
            told = {place.id for place in places if place.id in told_over} if told_over else set()
            self.doubted.update(dict.fromkeys((over_now - wrong) | (told - over_now)))
            await asyncio.sleep(0)
        self.is_loaded = True

    def count(self, resources: Iterable[Resource], gone: Iterable[UUID]) -> None:
        """Take in what is about to be mirrored, all of a batch at once."""
        if not self._quotas.counts_jobs:
            return
        for uid in gone:
            self._drop(uid)
        for resource in resources:
            meta = resource.meta
            if self._quotas.of(meta.namespace).counts_jobs:
                self._put(meta.namespace, _place(meta.uid, {**resource.spec, "created_at": resource.created_at}))
        self._draw()

    def message(self, uid: UUID) -> str | None:
        """Return why a job is over its namespace's quota, None if it is not."""
        if uid not in self._places:
            return None
        return self._message(*self._places[uid])

    def _message(self, namespace: str, place: Place) -> str | None:
        return over(place, self._lines.get(namespace), self._quotas.of(namespace), namespace)

    def is_misjudged(self, row: Mapping[str, Any]) -> bool:
        """Return whether the state of a row is not what the quota says; one that cannot run anyhow is right."""
        is_over = self.message(row["id"]) is not None
        if row["reason"] == Reason.QUOTA_EXCEEDED:
            return not is_over
        return is_over and row["state"] not in (JobState.INVALID, JobState.DELETED)

    def _put(self, namespace: str, place: Place) -> None:
        known = self._places.get(place.id)
        if known == (namespace, place):
            return
        self._drop(place.id)
        self._places[place.id] = namespace, place
        insort(self._by_age[namespace], place)
        self._touched.add(namespace)

    def _drop(self, uid: UUID) -> None:
        if uid not in self._places:
            return
        namespace, place = self._places.pop(uid)
        places = self._by_age[namespace]
        del places[bisect_left(places, place)]
        self._touched.add(namespace)
        self.doubted.pop(uid, None)

    def _draw(self) -> None:
        """Find where each quota ends now, and doubt the jobs that this has passed over."""
        for namespace in self._touched:
            places, before = self._by_age[namespace], self._lines.get(namespace)
            found = self._lines[namespace] = line(places, self._quotas.of(namespace), namespace)
            ends = [len(places) if each is None else bisect_left(places, each.place) for each in (before, found)]
            self.doubted.update(dict.fromkeys(place.id for place in places[min(ends) : max(ends)]))
        self._touched.clear()
        if self.doubted:
            self.wake.set()


def _place(uid: UUID, row: Mapping[str, Any]) -> Place:
    texts = [
        value if isinstance(value := row.get(name), str) else None for name in ("schedule", "fixedRate", "fixedDelay")
    ]
    return Place(row["created_at"], uid.int, fires_per_hour(*texts))


class JudgeQuota:
    """The judging anew of jobs that a quota has let in or put out, in one term."""

    def __init__(
        self,
        leader: Leader,
        counted: Counted,
        judge_again: Callable[[Resource], None],
        on_loaded: Callable[[], None] = lambda: None,
    ) -> None:
        """`judge_again(resource)` puts a resource into the mirror's inbox, to be judged though it has not changed.

        `on_loaded` is called when jobs may be judged.
        """
        self._on_loaded = on_loaded
        self._leader = leader
        self._counted = counted
        self._judge_again = judge_again
        self.wake = counted.wake

    async def step(self) -> float | None:
        """Have a page of doubted jobs judged anew, or count all first; return 0 while there are more."""
        if not self._counted.is_loaded:
            async with self._leader.session() as conn:
                await self._counted.load(conn)
            self._on_loaded()
        doubted = list(self._counted.doubted)[:BATCH]
        if not doubted:
            return None
        async with self._leader.session() as conn:
            rows = await load_resources(conn, doubted)
        for row in rows:
            if self._counted.is_misjudged(row):
                self._judge_again(resource_of(row))
        for uid in doubted:
            self._counted.doubted.pop(uid, None)
        return 0.0 if self._counted.doubted else None
