"""Grouping: when what waits for a webhook becomes one message, and what such a message says.

A message goes out `collect` after the first notice that waits for it came, and not before `every` has passed since the
message before it: an outage that fails 500 jobs is one message, and while it goes on one more each minute.
What was put into a message stays in it when it has to be sent again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from scheduledjobs.core.notices import Kind, Notice

LONGEST_BACKOFF = timedelta(minutes=5)
LONGEST_ASKED = timedelta(minutes=10)
GIVE_UP_AFTER = timedelta(hours=24)
LATE = timedelta(seconds=30)
"""How long after its end a completion is looked for while a trusted leader looks on: a replica that cannot reach the
database is dead after ten seconds of that, and its claims are taken from it."""

AWAITED_AFTER = LATE / 2
"""How long after its end a failure may be written that looks alone are to find; the rest is for writing it. One that is
written later is awaited by its id: somebody may have locked its row for hours, while all else goes on."""

LOOK_BACK = timedelta(seconds=2)
"""How far each look goes back before the one before it: longer than a COMMIT takes to become visible."""


def wait_for(waited: timedelta, since_last: timedelta | None, collect: timedelta, every: timedelta) -> timedelta:
    """Return how long what waits is still collected; nothing if its message is due.

    `waited` is how long the oldest notice has waited, `since_last` how long ago the message before was sent.
    """
    rest = collect - waited
    if since_last is not None:
        rest = max(rest, every - since_last)
    return max(rest, timedelta(0))


def retry_in(attempts: int, asked: timedelta | None) -> timedelta:
    """Return the wait after so many failed attempts (from 1) at a message; `asked` is what the webhook asked for."""
    wait = min(timedelta(seconds=2.0 ** min(attempts, 20)), LONGEST_BACKOFF)
    return wait if asked is None else max(wait, min(asked, LONGEST_ASKED))


@dataclass(frozen=True, slots=True)
class Looks:
    """From when on ended rows are to be looked at: (monotonic seconds, database time) of the looks of the last `LATE`.

    A completion is looked for up to `LATE` of a trusted leader's looking after its end. So rows are read again
    from where the looks were `LATE` ago. That stands still while the leader is not trusted, for nobody is declared dead
    then; and over an outage of the database, or of writes to it, for nobody can write a completion then.
    """

    made: tuple[tuple[float, datetime], ...]

    def after(self, position: datetime, now: float, *, is_trusted: bool) -> Looks:
        """Return the looks with one more, which has seen all that had ended at `position`.

        `is_trusted` is for the time since the look before: the leader was, and nothing that it read or wrote failed.
        """
        if not is_trusted:
            return Looks(((now, self.since), (now, position)))
        made = (*self.made, (now, position))
        old = [n for n, (at, _) in enumerate(made) if now - at >= LATE.total_seconds()]
        return Looks(made[old[-1] :] if old else made)

    @property
    def since(self) -> datetime:
        """All that ended before this was noticed."""
        return min(position for _, position in self.made)

    @property
    def newest(self) -> datetime:
        """Where the last look came to; earlier than the one before it if the database's clock was set back."""
        return self.made[-1][1]


class Count(NamedTuple):
    """How many notices there are of one kind in a namespace, listed or not, and of how many jobs."""

    notices: int
    jobs: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One job of a message: its last notice, and how many there are of it."""

    last: Notice
    count: int


@dataclass(frozen=True, slots=True)
class Section:
    """All notices of one kind in a message."""

    kind: Kind
    count: int
    by_namespace: tuple[tuple[str, int], ...]
    entries: tuple[Entry, ...]
    jobs: int

    @property
    def others(self) -> int:
        """How many jobs are counted and not listed."""
        return self.jobs - len(self.entries)


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent: a section for each kind, in the order of `Kind`."""

    id: str
    created_at: datetime
    sections: tuple[Section, ...]


def message_of(
    id_: str,
    created_at: datetime,
    notices: Sequence[Notice],
    counts: Mapping[tuple[Kind, str], Count],
    most: int,
) -> Message:
    """Return a message that lists of these notices `most` jobs of each kind, and counts by kind and namespace."""
    sections = []
    for kind in Kind:
        mine = {namespace: count for (of, namespace), count in counts.items() if of is kind}
        if mine:
            entries = _entries(notice for notice in notices if notice.kind is kind)
            by_namespace = sorted(((name, one.notices) for name, one in mine.items()), key=lambda p: (-p[1], p[0]))
            total, jobs = (sum(one[n] for one in mine.values()) for n in (0, 1))
            sections.append(Section(kind, total, tuple(by_namespace), tuple(entries[:most]), jobs))
    return Message(id_, created_at, tuple(sections))


def _entries(notices: Iterable[Notice]) -> list[Entry]:
    """Return an entry a job, in the order of the first notice of each."""
    found: dict[object, Entry] = {}
    for notice in sorted(notices, key=lambda one: (one.occurred_at, one.execution_id)):
        known = found.get(notice.job_id)
        found[notice.job_id] = Entry(notice, known.count + 1 if known else 1)
    return list(found.values())
