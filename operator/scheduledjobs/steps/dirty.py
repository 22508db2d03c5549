"""The dirty jobs of a term, kept by namespace: where one namespace is put off, its jobs cost nothing, however many.

Namespaces take turns, urgent jobs first, and a job that is picked goes to the end of its namespace's. One that may not
be taken yet is laid aside until it may. So a pick, which is made in one go, looks at few more jobs than it takes.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

Queue = OrderedDict[UUID, None]
Queues = OrderedDict[str, Queue]

PART_BEHIND = 4
"""Namespaces that come behind get a part of a pick that is full: there may always be others."""


MOST_LOOKED_AT = 600
"""In one pick, which is made in one go; those that may not be taken yet stand in the way of the next one no more."""


@dataclass(slots=True)
class Entry:
    """A dirty job; `mark` is the number of its newest one."""

    namespace: str
    mark: int
    is_urgent: bool = False
    is_aside: bool = False


class Dirty:
    """The dirty jobs."""

    def __init__(self) -> None:
        self._entries: dict[UUID, Entry] = {}
        self._urgent: Queues = OrderedDict()
        self._others: Queues = OrderedDict()
        """Jobs by namespace, none empty; the namespace and the job whose turn is next come first."""

        self._aside: list[tuple[float, UUID]] = []
        """A heap of jobs with the time at which they may be taken; some may have been cleaned, or stand in it twice."""

        self._left = 0
        """How many jobs this pick may still look at."""

        self.marks = 0
        """How many times jobs were marked: what was read before a mark does not make its jobs clean."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, uid: object) -> bool:
        return uid in self._entries

    def has(self, namespace: str) -> bool:
        """Return whether a job of this namespace is dirty, and not laid aside."""
        return namespace in self._urgent or namespace in self._others

    def mark(self, jobs: Iterable[tuple[UUID, str]]) -> None:
        """These jobs are dirty from now on; each comes with its namespace."""
        self.marks += 1
        for uid, namespace in jobs:
            if (entry := self._entries.get(uid)) is not None:
                entry.mark = self.marks
            else:
                self._put(uid, Entry(namespace, self.marks))

    def hurry(self, uid: UUID) -> None:
        """A dirty job is urgent, until it is clean or `calm` is called."""
        self._move(uid, is_urgent=True)

    def calm(self, uid: UUID) -> None:
        """A job that is dirty is not urgent any more; it goes to the end."""
        self._move(uid, is_urgent=False)

    def clean(self, uid: UUID, read: int) -> None:
        """What was read after so many marks is told; a later mark may tell of something newer."""
        if (entry := self._entries.get(uid)) is not None and entry.mark <= read:
            self.forget(uid)

    def forget(self, uid: UUID) -> None:
        """The job is gone, or clean."""
        if (entry := self._entries.pop(uid, None)) is not None and not entry.is_aside:
            self._remove(uid, entry)

    def pick(
        self, most: int, now: float, ready_at: Callable[[UUID], float], behind: Sequence[str], away: Container[str]
    ) -> list[UUID]:
        """Return the next jobs, at most so many, each once, and put them at the end.

        `ready_at` says from which time on a job may be taken. Of the namespaces that are `away` only those
        `behind` have a turn, in this order, after all others.
        """
        self._put_back(now)
        self._left = MOST_LOOKED_AT
        waiting = sum(len(queues.get(namespace, ())) for queues in (self._urgent, self._others) for namespace in behind)
        found: list[UUID] = []

        def take(most: int, of: Callable[[Queues], Iterable[str]]) -> None:
            for queues in (self._urgent, self._others):
                found.extend(self._take(queues, list(of(queues)), most - len(found), now, ready_at))

        take(
            most - min(waiting, most // PART_BEHIND),
            lambda queues: islice((one for one in queues if one not in away), MOST_LOOKED_AT),
        )
        take(most, lambda queues: (one for one in behind if one in queues))
        return found

    def _take(
        self, queues: Queues, namespaces: list[str], most: int, now: float, ready_at: Callable[[UUID], float]
    ) -> list[UUID]:
        """Take jobs of these namespaces, one of each in turn."""
        found: list[UUID] = []
        turns = deque((namespace, len(queues[namespace])) for namespace in namespaces)
        while turns and len(found) < most and self._left:
            self._left -= 1
            namespace, left = turns.popleft()
            queue = queues[namespace]
            uid = next(iter(queue))
            if (at := ready_at(uid)) > now:
                self._lay_aside(uid, at)
            else:
                queue.move_to_end(uid)
                queues.move_to_end(namespace)
                found.append(uid)
            if left > 1:
                turns.append((namespace, left - 1))
        return found

    def _lay_aside(self, uid: UUID, until: float) -> None:
        entry = self._entries[uid]
        self._remove(uid, entry)
        entry.is_aside = True
        heapq.heappush(self._aside, (until, uid))

    def _put_back(self, now: float) -> None:
        for _ in range(MOST_LOOKED_AT):
            if not self._aside or self._aside[0][0] > now:
                break
            _, uid = heapq.heappop(self._aside)
            if (entry := self._entries.get(uid)) is not None and entry.is_aside:
                self._put(uid, entry)

    def _move(self, uid: UUID, *, is_urgent: bool) -> None:
        if (entry := self._entries.get(uid)) is None:
            return
        if not entry.is_aside:
            self._remove(uid, entry)
        entry.is_urgent = is_urgent
        if not entry.is_aside:
            self._put(uid, entry)

    def _put(self, uid: UUID, entry: Entry) -> None:
        entry.is_aside = False
        self._entries[uid] = entry
        self._of(entry).setdefault(entry.namespace, OrderedDict())[uid] = None

    def _remove(self, uid: UUID, entry: Entry) -> None:
        queues = self._of(entry)
        del queues[entry.namespace][uid]
        if not queues[entry.namespace]:
            del queues[entry.namespace]

    def _of(self, entry: Entry) -> Queues:
        return self._urgent if entry.is_urgent else self._others
