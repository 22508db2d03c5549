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
    present = list(live)
    stop: list[int] = []
    fate: NewExecution | None = None
    for row in rows:
        if row.state is not State.PENDING:
            settled.append(row)
        elif row.reason is Reason.CATCHING_UP and fate is not None:
            settled.append(_like(row, fate))
        else:
            if policy is ConcurrencyPolicy.REPLACE:
                stop += [run.id for run in live if run.id not in stop]
                settled = [_replaced(one) for one in settled]
                present = list(live)
            fate = _one(policy, replace(row, id=next(ids)) if row.id is None else row, present)
            settled.append(fate)
            if fate.state is State.PENDING:
                present.append(Live(fate.id or 0, is_pending=True, is_held=fate.is_held, reason=fate.reason))
    return Outcome(tuple(settled), tuple(stop))


def _one(policy: ConcurrencyPolicy, row: NewExecution, live: Sequence[Live]) -> NewExecution:
    if not live:
        return row
    front = next((run.id for run in live if not run.is_held), live[0].id)
    if policy is ConcurrencyPolicy.FORBID:
        message = f"execution {front} had not ended"
        return replace(row, state=State.SKIPPED, reason=Reason.OVERLAP, message=message, blocked_by=front)
    waiting = next((run.id for run in live if run.is_held and run.reason in WAITING), None)
    if policy is ConcurrencyPolicy.QUEUE and waiting is not None:
        message = f"execution {waiting} was waiting already"
        return replace(row, state=State.SKIPPED, reason=Reason.QUEUE_FULL, message=message, blocked_by=waiting)
    reason = Reason.QUEUED if policy is ConcurrencyPolicy.QUEUE else Reason.REPLACING
    return replace(row, reason=reason, is_held=True, blocked_by=front)


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
