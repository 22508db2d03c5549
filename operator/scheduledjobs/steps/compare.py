"""Compare: hold the mirror against the API server's list, since a watch can miss what a list cannot.

Level-triggered: once the term's watch has begun, after each break of it, and every few minutes. It is a page at a time,
of the list and of the mirror, so that it holds little however many jobs there are. What differs is mirrored as seen by
a quorum read; of what has come in since the list began nobody knows which is newer, so it is asked for by name, and so
is what the mirror had deleted, and what the list no longer has, before it counts as gone. A namespace that was not
listed to its end is not judged, nor is a job that was mirrored after the list began. Where a watch has begun or ended
meanwhile, another compare follows at once.

A namespace that is refused, as one that was deleted with the operator's Role in it, is left as it is, and the others
are compared. Where all are refused nothing is compared: the step fails, and so it does for any other failure.

Jobs of namespaces that are watched no more, since the setting names fewer of them than before, are in no list and no
watch. The first step of a term takes them for gone before it asks the API server for anything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any
from uuid import UUID

import structlog

from scheduledjobs import metrics
from scheduledjobs.core.reasons import JobState
from scheduledjobs.core.resource import Resource
from scheduledjobs.errors import Forbidden
from scheduledjobs.kube.client import FORBIDDEN, KubeClient
from scheduledjobs.kube.listing import get_resource, list_resources
from scheduledjobs.kube.refusals import Refusals
from scheduledjobs.steps.inbox import Gone, Inbox, read_anew
from scheduledjobs.steps.loop import pause
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.mirror import find_living, find_unwatched, load_mirrored, load_resources

log = structlog.get_logger(__name__)

EVERY_SECONDS = 300.0
SECONDS_A_JOB = 0.006
"""And for each job so much at least: it takes some 50 us of a core, which is one hundredth of one with 100,000."""

WATCH_WITHIN_SECONDS = 2.0
"""How long the first compare waits for the watch, which asks for one when it begins."""

QUIET_SECONDS = 30.0
"""The API server may be silent for so long before moments older than their grace fire from the mirror as it is."""

OVERDUE_SECONDS = 300.0
"""And they wait so long at most, for one that answers now and then, and for a compare that takes long."""

REFUSED_SECONDS = 5.0
"""A namespace that was not refused before is compared again after so long: it may be for a moment only."""

MOST_WAITING = 1_000
"""Changes that wait to be mirrored before more is listed: a cold start would hold every resource in memory."""

PAGE = 5_000
ABSENT_PAGE = 200
NOBODY = UUID(int=0)
UNWATCHED = "its namespace is not watched any more"


class Compare:
    """The compares of one term."""

    def __init__(
        self,
        leader: Leader,
        kube: KubeClient,
        inbox: Inbox,
        namespaces: Sequence[str],
        on_seen: Callable[[Resource, bool], None],
        on_compared: Callable[[], None],
        *,
        is_all_news: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_seen(resource, differs)` is called with each that is listed, and whether it is to be mirrored.

        `is_all_news`: the first compare of a namespace takes each for different; its numbers say nothing after etcd was
        restored.
        """
        self._leader = leader
        self._kube = kube
        self._inbox = inbox
        self._namespaces = namespaces
        self._on_seen = on_seen
        self._on_compared = on_compared
        self._scopes: list[str | None] = list(dict.fromkeys(namespaces)) or [None]
        self.refusals = Refusals()
        self._refused: set[str] = set()
        self._all_news = set(self._scopes if is_all_news else ())
        self._monotonic = monotonic
        self._began_at = self._heard_at = monotonic()
        self._is_first = True
        self._is_asked = False
        self._may_have_unwatched = bool(namespaces)
        self.wake = asyncio.Event()

    def ask(self) -> None:
        """Compare soon: a watch has begun, or ended, and what happened before it is for the compare to find."""
        self._is_asked = True
        self.wake.set()

    async def overdue(self) -> None:
        """Return once the mirror has to do as it is, since the first compare does not come to its end."""
        while (seconds := self.overdue_in()) > 0:
            await pause(seconds, None)

    def overdue_in(self) -> float:
        """Return the seconds until then, if nothing more is heard of the API server."""
        until = min(self._heard_at + QUIET_SECONDS, self._began_at + OVERDUE_SECONDS)
        return until - self._monotonic()

    async def step(self) -> float:
        """Compare once; what differs goes to the mirror's inbox. Return the seconds until the next."""
        if self._may_have_unwatched:
            await self._drop_unwatched()
            self._may_have_unwatched = False
        if self._is_first and not self._is_asked:
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_WITHIN_SECONDS):
                    await self.wake.wait()
            self.wake.clear()
        was_asked, self._is_asked = self._is_asked, False
        refused: dict[str, Forbidden] = {}
        try:
            unseen = await self._living(self._namespaces)
            listed, changed = await self._list(unseen, refused)
            gone = await self._remove(unseen, refused)
            self._fail_if_all(refused)
        except BaseException:
            self._is_asked = self._is_asked or was_asked
            raise
        if not (was_asked or self._is_asked or self._is_first):
            metrics.MIRROR_DRIFT.inc(changed + gone)
        metrics.repairs("mirrored").inc(changed)
        metrics.repairs("deleted").inc(gone)
        names = sorted(refused)
        log.info("compared the mirror with the cluster", listed=listed, changed=changed, gone=gone, refused=names)
        self._is_first = False
        self._all_news.intersection_update(refused)
        self._on_compared()
        is_new = self._tell_refused(refused)
        return REFUSED_SECONDS if is_new else max(EVERY_SECONDS, listed * SECONDS_A_JOB)

    def _fail_if_all(self, refused: Mapping[str, Forbidden]) -> None:
        if len(refused) == len(self._scopes):
            raise next(iter(refused.values()))

    def _tell_refused(self, refused: Mapping[str, Forbidden]) -> bool:
        """Tell of the namespaces that are refused; return whether one of them was not before."""
        for namespace in self._namespaces:
            if namespace in refused:
                self.refusals.refuse(namespace, "compare", str(refused[namespace]))
            else:
                self.refusals.admit(namespace, "compare")
        before, self._refused = self._refused, set(refused)
        return not self._refused <= before

    async def _drop_unwatched(self) -> None:
        """Remove the jobs of other namespaces than those of the setting: they would fire for ever as they once were.

        Until that is mirrored, a moment after a term has begun, one that is due may fire.
        """
        count, namespaces, last = 0, set[str](), NOBODY
        while True:
            async with self._leader.session() as conn:
                page = await find_unwatched(conn, last, self._namespaces, ABSENT_PAGE)
            for row in page:
                self._inbox.put(Gone(row["id"], row["namespace"], row["name"], UNWATCHED))
            count += len(page)
            namespaces.update(row["namespace"] for row in page)
            if len(page) < ABSENT_PAGE:
                break
            last = page[-1]["id"]
            await self._inbox.room(MOST_WAITING)
        metrics.repairs("deleted").inc(count)
        if count:
            log.warning(
                "jobs of namespaces that are not watched any more are taken for gone",
                count=count,
                namespaces=sorted(namespaces),
            )

    async def _living(self, of: Collection[str]) -> set[UUID]:
        """Return the jobs that the mirror has now, of these namespaces; of all where none is named."""
        found: set[UUID] = set()
        last = NOBODY
        namespaces = list(of) or None
        while True:
            async with self._leader.session() as conn:
                page = await find_living(conn, last, namespaces, PAGE)
            found.update(page)
            if len(page) < PAGE:
                return found
            last = page[-1]

    async def _list(self, unseen: set[UUID], refused: dict[str, Forbidden]) -> tuple[int, int]:
        """Mirror what of the list differs, and leave of `unseen` what it should have; return how many it has, and
        differ.

        It is read to its end though a compare is asked for meanwhile: where watches break more often than a list takes,
        nothing else would find what they miss.
        """
        listed = changed = 0
        on_its_way = self._inbox.waiting()
        with self._inbox.noting() as news:
            for scope in self._scopes:
                try:
                    async for page in list_resources(self._kube, scope):
                        self._heard_at = self._monotonic()
                        unseen.difference_update(resource.meta.uid for resource in page)
                        changed += await self._see_page(page, news, on_its_way, is_all_news=scope in self._all_news)
                        listed += len(page)
                        await self._inbox.room(MOST_WAITING)
                except Forbidden as error:
                    self._refuse(scope, error, refused)
        if refused:
            unseen -= await self._living(refused)
        return listed, changed

    def _refuse(self, namespace: str | None, error: Forbidden, refused: dict[str, Forbidden]) -> None:
        """Leave one namespace out of this pass; raise what concerns all: of a list of all, or a 401."""
        if namespace is None or error.status != FORBIDDEN:
            raise error
        refused[namespace] = error

    async def _see_page(
        self, page: Sequence[Resource], news: Collection[UUID], on_its_way: Collection[UUID], *, is_all_news: bool
    ) -> int:
        """Mirror what of a page differs; return how many those are that nothing else has told of."""
        changed = 0
        async with self._leader.session() as conn:
            rows = await load_mirrored(conn, [resource.meta.uid for resource in page])
        for resource in page:
            uid = resource.meta.uid
            if is_other := differs(rows.get(uid), resource):
                changed += uid not in news and uid not in on_its_way
            is_doubtful = uid in news or (uid in rows and rows[uid]["state"] == JobState.DELETED)
            await self._see(resource, is_other=is_other or is_all_news, is_doubtful=is_doubtful)
        return changed

    async def _see(self, resource: Resource, *, is_other: bool, is_doubtful: bool) -> None:
        """Tell of a resource that was listed; one that may be newer than the list, or gone, is asked for."""
        meta = resource.meta
        if not (is_other and is_doubtful):
            self._on_seen(resource, is_other)
        elif (living := await self._read(meta.namespace, meta.name)) is not None:
            self._on_seen(living, True)

    async def _remove(self, unseen: Collection[UUID], refused: dict[str, Forbidden]) -> int:
        """Remove those of these jobs that are gone; return how many."""
        count = 0
        for absent in _pages(unseen, ABSENT_PAGE):
            leaving = self._inbox.leaving()  # told by the watch, or by the compare before
            async with self._leader.session() as conn:
                rows = await load_resources(conn, absent)
            gone = [row for row in rows if row["id"] not in leaving and await self._is_gone(row, refused)]
            for row in gone:
                self._inbox.put(Gone(row["id"], row["namespace"], row["name"]))
            count += len(gone)
        return count

    async def _is_gone(self, row: Mapping[str, Any], refused: dict[str, Forbidden]) -> bool:
        if row["namespace"] in refused:
            return False
        try:
            living = await self._read(row["namespace"], row["name"])
        except Forbidden as error:
            self._refuse(row["namespace"] if self._namespaces else None, error, refused)
            return False
        if living is not None and living.meta.uid != row["id"]:
            self._on_seen(living, True)
        return living is None or living.meta.uid != row["id"]

    async def _read(self, namespace: str, name: str) -> Resource | None:
        async def get(namespace: str, name: str) -> Resource | None:
            found = await get_resource(self._kube, namespace, name)
            self._heard_at = self._monotonic()
            return found

        return await read_anew(self._inbox, get, namespace, name)


def differs(row: Mapping[str, Any] | None, resource: Resource) -> bool:
    """Return whether the mirror lacks a resource or holds another spec or other annotations of ours; of one that is
    being deleted, whether its job is living.

    One that the mirror has in a later version than the list was written after a snapshot that etcd has been restored
    from; its generation says nothing then.
    """
    meta = resource.meta
    if row is None or row["state"] == JobState.DELETED:
        return not (row and resource.is_deleting)
    is_other = row["version"] != meta.generation or row["annotations"] != dict(meta.annotations)
    return bool(is_other or row["resource_version"] > meta.resource_version)


def _pages(ids: Collection[UUID], most: int) -> Iterator[list[UUID]]:
    left = iter(ids)
    while page := list(islice(left, most)):
        yield page
