"""Inbox: what has come of resources and is not mirrored yet, the newest of each uid.

It comes from the watch, from a compare, and from a change of the live handlers. Whoever asks the API server for an
object asks it again where the inbox has heard of the object meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any
from uuid import UUID

from scheduledjobs.core.resource import Resource
from scheduledjobs.errors import KubeUnavailable, StoreUnavailable

MOST_READS = 10
ROOM_SECONDS = 60.0
DELETED = "the resource was deleted"


@dataclass(frozen=True, slots=True)
class Seen:
    """A resource as it was seen; `is_quorum` if by a quorum list or GET, which alone may go back or revive."""

    resource: Resource
    is_quorum: bool = False
    judge_again: bool = False
    """True to judge an unchanged resource anew: the live handlers have changed."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A resource that is there no more; `why` is what its row says of that."""

    uid: UUID
    namespace: str
    name: str
    why: str = DELETED


Change = Seen | Gone


@dataclass(slots=True)
class Inbox:
    """The newest change of each uid; bounded by the number of objects."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _changes: dict[UUID, Change] = field(default_factory=dict)
    _notes: list[set[UUID]] = field(default_factory=list)
    _taken: asyncio.Event = field(default_factory=asyncio.Event)
    _in_hand: dict[UUID, Change] = field(default_factory=dict)
    _aside: dict[UUID, tuple[Change, float]] = field(default_factory=dict)
    _awaited: list[tuple[set[UUID], Callable[[], None]]] = field(default_factory=list)

    def put(self, change: Change) -> None:
        """Take a change in; it replaces what is known of the uid, unless that is newer and as good."""
        uid = uid_of(change)
        self.hear(uid)
        aside, _ = self._aside.pop(uid, (None, 0.0))
        self._changes[uid] = _joined(self._changes.get(uid, aside), change)
        self.wake.set()

    def hear(self, uid: UUID) -> None:
        """Take note that there was news of an object, even if nothing of it is to be mirrored."""
        for note in self._notes:
            note.add(uid)

    def put_back(self, changes: Iterable[Change]) -> None:
        """Take back what could not be mirrored; what has come in the meantime is newer."""
        for change in changes:
            since = self._changes.get(uid_of(change))
            self._changes[uid_of(change)] = change if since is None else _joined(change, since)
        self.wake.set()

    def put_aside(self, changes: Iterable[Change], until: float) -> None:
        """Take back what waits for itself alone, until `take_up` has come to that second, or until there is more of it.

        Nobody waits for it, neither who takes changes out nor who asks for what is mirrored.
        """
        for change in changes:
            if (uid := uid_of(change)) in self._changes:
                self.put_back([change])
            else:
                self._aside[uid] = change, until

    def take_up(self, now: float) -> None:
        """Take back what was put aside until `now` or before."""
        due = [uid for uid, (_, until) in self._aside.items() if until <= now]
        for uid in due:
            self._changes[uid], _ = self._aside.pop(uid)

    def waiting(self) -> set[UUID]:
        """Return the objects of which something waits, or is being mirrored."""
        return {*self._changes, *self._in_hand, *self._aside}

    def leaving(self) -> set[UUID]:
        """Return those of them that are known to be gone."""
        return set(gone_among([*self._changes.values(), *self._in_hand.values()]))

    @contextmanager
    def noting(self) -> Iterator[set[UUID]]:
        """Yield a set that fills with the uids of what comes in meanwhile."""
        note: set[UUID] = set()
        self._notes.append(note)
        try:
            yield note
        finally:
            self._notes[:] = [each for each in self._notes if each is not note]

    def take(self, most: int) -> list[Change]:
        """Return and remove up to `most` changes, oldest first; `done` is to be called once they are mirrored."""
        taken = {uid: self._changes.pop(uid) for uid in list(islice(self._changes, most))}
        self._in_hand.update(taken)
        self._taken.set()
        return list(taken.values())

    def done(self, postponed: frozenset[UUID] = frozenset()) -> None:
        """What was taken has been mirrored, but for what was put back. Nobody waits for what is `postponed`: what is
        older than its grace is decided already, and the change will be judged by what is known then."""
        self._in_hand.clear()
        waiting, self._awaited = self._awaited, []
        for uids, act in waiting:
            self._await(uids - postponed, act)

    def once_mirrored(self, act: Callable[[], None]) -> None:
        """Call `act()` as soon as all that waits now, or is being mirrored, has been: at once if nothing is."""
        self._await(self.waiting(), act)

    def _await(self, uids: set[UUID], act: Callable[[], None]) -> None:
        if left := uids & (self._changes.keys() | self._in_hand.keys()):
            self._awaited.append((left, act))
        else:
            act()

    async def room(self, most: int) -> None:
        """Return once fewer than so many changes wait: whoever brings many in waits for those who take them out.

        `StoreUnavailable` if these do not come to it for a minute.
        """
        while len(self._changes) >= most:
            self._taken.clear()
            try:
                async with asyncio.timeout(ROOM_SECONDS):
                    await self._taken.wait()
            except TimeoutError:
                raise StoreUnavailable(f"{len(self._changes)} changes wait to be mirrored") from None

    def __len__(self) -> int:
        return len(self._changes)


async def read_anew(
    inbox: Inbox, get_resource: Callable[[str, str], Any], namespace: str, name: str
) -> Resource | None:
    """Return what a quorum read says that began after all that the inbox has of the object had come in.

    A change that comes in during the read may be newer than its answer, which would take the job back to what it was,
    or bring one to life that is gone.
    """
    for _ in range(MOST_READS):
        with inbox.noting() as news:
            found: Resource | None = await get_resource(namespace, name)
        if found is None or found.meta.uid not in news:
            return found
    raise KubeUnavailable(f"{namespace}/{name} changes faster than it can be read")


def uid_of(change: Change) -> UUID:
    """Return the uid of the object that has changed."""
    return change.uid if isinstance(change, Gone) else change.resource.meta.uid


def _joined(known: Change | None, change: Change) -> Change:
    """Return what is to be mirrored of an object of which one change waits, and another has come.

    What came after a quorum read counts as one itself: after etcd was restored both are older by their numbers than
    what the mirror has. And so is what is judged again, which is as the mirror has it: a quorum read says more, and so
    does its end, which nothing will tell again.
    """
    if isinstance(known, Gone) and isinstance(change, Seen) and change.judge_again and not change.is_quorum:
        return known
    if not (isinstance(known, Seen) and isinstance(change, Seen)):
        return change
    newest = known if _is_older(change, known) or (known.is_quorum and change.judge_again) else change
    return replace(
        newest,
        is_quorum=known.is_quorum or change.is_quorum,
        judge_again=known.judge_again or change.judge_again,
    )


def _is_older(change: Seen, known: Seen) -> bool:
    return change.resource.meta.resource_version < known.resource.meta.resource_version and not change.is_quorum


def gone_among(changes: Sequence[Change]) -> dict[UUID, str]:
    """Return the objects that are gone by these changes, and why."""
    return {change.uid: change.why for change in changes if isinstance(change, Gone)}
