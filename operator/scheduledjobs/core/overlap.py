"""Overlap: what becomes of a run that finds another one of its job not ended. Decided when its row is inserted.

Forbid closes the newcomer. Queue holds it, one at most. Replace holds it and stops what is there. Allow lets it run.
The runs of a FireAll chain count as one: they share the fate of the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from scheduledjobs.core.job import NewExecution
from scheduledjobs.core.reasons import Reason, State
from scheduledjobs.core.spec import ConcurrencyPolicy

WAITING = frozenset({Reason.QUEUED, Reason.REPLACING})
"""Why a held row waits for another run to end, not for its turn in a chain."""


@dataclass(frozen=True, slots=True)
class Live:
    """An execution that has not ended. `is_pending` and not held or backing off: it waits for a slot."""

    id: int
    is_pending: bool
    is_held: bool = False
    is_backing_off: bool = False
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The newcomers as they are to be inserted, and what is to be done with the runs they found."""

    rows: tuple[NewExecution, ...]
    stop: tuple[int, ...] = ()
    """Ids of runs that are to be stopped for a newcomer: started or being claimed."""


def in_the_way(policy: ConcurrencyPolicy, live: Sequence[Live]) -> tuple[int, ...]:
    """Return the ids of waiting runs that must give way before the newcomer is judged.

    Forbid: those that only wait for backoff, unless something else is live. Replace: all that has not started.
    """
    if policy is ConcurrencyPolicy.FORBID and live and all(run.is_backing_off for run in live):
        return tuple(run.id for run in live)
    if policy is ConcurrencyPolicy.REPLACE:
        return tuple(run.id for run in live if run.is_pending)
    return ()


def settle_overlap(
    policy: ConcurrencyPolicy, rows: Sequence[NewExecution], live: Sequence[Live], ids: Iterator[int | None]
) -> Outcome:
    """Return what becomes of `rows` (oldest first), given what is live after those in the way have gone.

    The first of several runs takes an id of `ids`, since the others name it; None: the database numbers it.
    """
    if policy is ConcurrencyPolicy.ALLOW:
        return Outcome(tuple(rows))
    settled: list[NewExecution] = []
    there = before = _Present.of(live)
    stop: tuple[int, ...] = ()
    fate: NewExecution | None = None
    given_way = 0  # so many of the settled have given way to a newer one: each is looked at once
    for row in rows:
        if row.state is not State.PENDING:
            settled.append(row)
        elif row.reason is Reason.CATCHING_UP and fate is not None:
            settled.append(_like(row, fate))
        else:
            if policy is ConcurrencyPolicy.REPLACE:
                stop = tuple(run.id for run in live)
                settled[given_way:] = [_replaced(one) for one in settled[given_way:]]
                given_way = len(settled)
                there = before
            fate = _one(policy, replace(row, id=next(ids)) if row.id is None else row, there)
            settled.append(fate)
            there = there.and_also(fate)
    return Outcome(tuple(settled), stop)


@dataclass(frozen=True, slots=True)
class _Present:
    """What a newcomer needs to know of the runs before it: the id of the one in front, and of the one that waits."""

    front: int | None
    waiting: int | None

    @classmethod
    def of(cls, live: Sequence[Live]) -> _Present:
        front = next((run.id for run in live if not run.is_held), live[0].id if live else None)
        return cls(front, next((run.id for run in live if run.is_held and run.reason in WAITING), None))

    def and_also(self, row: NewExecution) -> _Present:
        if row.state is not State.PENDING:
            return self
        number = row.id or 0
        waits = row.is_held and row.reason in WAITING
        return _Present(
            number if self.front is None else self.front, number if waits and self.waiting is None else self.waiting
        )


def _one(policy: ConcurrencyPolicy, row: NewExecution, there: _Present) -> NewExecution:
    if there.front is None:
        return row
    if policy is ConcurrencyPolicy.FORBID:
        message = f"execution {there.front} had not ended"
        return replace(row, state=State.SKIPPED, reason=Reason.OVERLAP, message=message, blocked_by=there.front)
    if policy is ConcurrencyPolicy.QUEUE and there.waiting is not None:
        message = f"execution {there.waiting} was waiting already"
        return replace(row, state=State.SKIPPED, reason=Reason.QUEUE_FULL, message=message, blocked_by=there.waiting)
    reason = Reason.QUEUED if policy is ConcurrencyPolicy.QUEUE else Reason.REPLACING
    return replace(row, reason=reason, is_held=True, blocked_by=there.front)


def _like(row: NewExecution, first: NewExecution) -> NewExecution:
    """A later run of a chain is skipped with its first, or waits for its turn."""
    if first.state is State.PENDING:
        return replace(row, blocked_by=first.id)
    closed = replace(row, state=first.state, reason=first.reason, message=first.message, blocked_by=first.blocked_by)
    return replace(closed, is_held=False)


def _replaced(row: NewExecution) -> NewExecution:
    """A run of the same batch gives way to a newer one before it began."""
    if row.state is not State.PENDING:
        return row
    message = "a newer moment took its place"
    return replace(row, state=State.SKIPPED, reason=Reason.REPLACED, message=message, is_held=False)
