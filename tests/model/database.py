"""The database of the workers' model: its rows, the statements on their way to it, and what each of them changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.search import added, removed, renewed

ENDED = frozenset({"SUCCEEDED", "FAILED", "LOST"})


class Guards(NamedTuple):
    """What keeps the rules; each can be taken away. The last three are not in the code."""

    compares_claim_no: bool = True
    """complete_executions.sql and hand_back_executions.sql change the row of their own claim number only,"""
    compares_owner: bool = True
    """... of their own replica only,"""
    compares_state: bool = True
    """... and only while it runs."""
    keeps_claim_no: bool = True
    """hand_back_executions.sql takes the attempt back, and not the claim number."""
    claims_under_lock: bool = True
    """claim_executions.sql picks FOR UPDATE SKIP LOCKED, and takes what it picked in the same statement."""
    starts_trusting_itself: bool = True
    """Claim.claim starts what it was given only while the replica trusts itself, and else hands it back,"""
    starts_under_its_id: bool = True
    """... and only while the replica has the id that claimed."""
    spares_held: bool = True
    """Claim.reconcile hands back what the replica does not hold, and nothing that it holds."""
    death_is_final: bool = True
    """beat_instance.sql changes no row of a replica that was declared dead."""
    buries_the_silent: bool = True
    """bury_instances.sql declares dead only where the heartbeat is still the one that was seen."""
    trust_ends_first: bool = True
    """core/term.py and rescue.py: a replica ceases to trust itself after 8 s, the leader waits for 10."""
    trusts_from_sending: bool = True
    """Heartbeat.step counts trust from when the acknowledged heartbeat was sent, not from when the answer came."""
    rescues_under_lock: bool = True
    """find_orphans.sql locks what lose_executions.sql ends."""
    rescues_by_level: bool = True
    """find_orphans.sql looks for every row whose owner is dead, not for those of the newly dead."""
    looks_past_inserts: bool = True
    """Claim.step does not reconcile while an insert that claims is on its way, which brings what is not held yet,"""
    inserts_past_looks: bool = True
    """... and Claim.reserve claims nothing on insert while what is not held is looked for."""
    takes_attempt_back: bool = True
    """hand_over_executions.sql and hand_over_orphans.sql take the attempt back: the next claim is of the same one."""
    closes_after_claims: bool = True
    """Not in the code: App._shut_down would wait for the claim on its way, and hand back what it gave."""
    tells_apart: bool = False
    """Not in the code: find_ended_claims.sql would tell a rescue's LOST from a completion's, and find a retry."""
    looks_at_instance: bool = False
    """Not in the code: claim, completion and hand-back would lock their replica's row, and change nothing if dead."""


class Execution(NamedTuple):
    """One row of the log. For the rules only: how many attempts have started, under which claims one was written."""

    state: str = "PENDING"
    """As in the log; NOT DUE YET where no row is there."""
    claim_no: int = 0
    owner: str = ""
    attempt: int = 0
    starts: int = 0
    written: tuple[int, ...] = ()


class Call(NamedTuple):
    """A statement that a replica has sent: to claim, to insert as claimed, to complete or to hand back."""

    kind: str
    owner: str
    execution: int = -1
    claim_no: int = 0
    outcome: str = ""
    at: str = "sent"
    """sent; picked (a claim without its lock has chosen); open (the row is changed and locked, COMMIT is to come)."""
    is_heard: bool = True
    """The replica still waits for the answer."""

    def __str__(self) -> str:
        what = {"complete": f"completion ({self.outcome})", "hand back": "hand-back"}.get(self.kind, self.kind)
        under = f" of execution {self.execution} under claim {self.claim_no}" if self.execution >= 0 else ""
        return f"the {what}{under} by {self.owner}"


class Attempt(NamedTuple):
    """What a replica holds: an attempt that runs, has ended, or whose ending is being written."""

    execution: int
    claim_no: int
    owner: str
    stage: str = "runs"
    outcome: str = ""


class Worker(NamedTuple):
    """One replica; a new life is a new id."""

    name: str
    life: int = 1
    is_trusted: bool = True
    answer: str = ""
    """A heartbeat's acknowledgement on its way: fresh, or old (its trust would have run out since it was sent)."""
    waits: str = ""
    """What its claim loop waits for: claim, hand back or nothing."""
    inserts: bool = False
    """Its fire loop waits for an insert that claims: the slot is kept for what that brings."""
    held: Attempt | None = None
    is_draining: bool = False

    @property
    def id(self) -> str:
        return f"{self.name}{self.life}"


class Rescue(NamedTuple):
    """A transaction of the leader: whom it declares dead, and the rows that it has found."""

    buries: str
    found: tuple[int, ...]


class State(NamedTuple):
    """The database, what is under way to it, what the replicas hold, and whom the leader has seen silent."""

    executions: tuple[Execution, ...]
    workers: tuple[Worker, ...]
    faults: int
    stops: int
    """How often a replica may still be told to stop."""
    calls: tuple[Call, ...] = ()
    silent: tuple[str, ...] = ()
    """Whom the leader has seen silent for ten seconds, and may declare dead."""
    dead: tuple[str, ...] = ()
    rescue: Rescue | None = None
    broken: str = ""


def matches(state: State, guards: Guards, owner: str, number: int, claim_no: int) -> bool:
    """Whether a completion or hand-back would change the row: the WHERE of both statements."""
    row = state.executions[number]
    return (
        (row.claim_no == claim_no or not guards.compares_claim_no)
        and (row.owner == owner or not guards.compares_owner)
        and (row.state == "RUNNING" or not guards.compares_state)
        and not (guards.looks_at_instance and owner in state.dead)
    )


def is_locked(state: State, guards: Guards, number: int) -> bool:
    """Whether a transaction holds the row."""
    found = state.rescue.found if state.rescue and guards.rescues_under_lock else ()
    return number in found or any(x.at == "open" and x.execution == number for x in state.calls)


def writers(state: State, guards: Guards, number: int) -> set[tuple[str, int]]:
    """The claims under which somebody could still change the row."""
    claims = {(x.held.owner, x.held.claim_no) for x in state.workers if x.held and x.held.execution == number}
    claims |= {
        (x.owner, x.claim_no) for x in state.calls if x.execution == number and x.kind != "insert" and x.at != "picked"
    }
    return {(owner, claim_no) for owner, claim_no in claims if matches(state, guards, owner, number, claim_no)}


def taken(state: State, call: Call, number: int) -> State:
    """The row runs under the claim's replica."""
    row = state.executions[number]
    row = row._replace(state="RUNNING", claim_no=row.claim_no + 1, owner=call.owner, attempt=row.attempt + 1)
    return with_execution(state, number, row)


def completed(state: State, guards: Guards, call: Call, limit: int, *, keeps_written: bool) -> State:
    """The row is as the completion says: ended, waiting for another attempt, or for who goes on with this one."""
    row = state.executions[call.execution]
    stale = _stale(row, call)
    if keeps_written:
        row = row._replace(written=(*row.written, call.claim_no))
    if call.outcome == "over":
        row = row._replace(state="PENDING", owner="", attempt=row.attempt - guards.takes_attempt_back)
    elif call.outcome == "ok":
        row = row._replace(state="SUCCEEDED")
    else:
        row = row._replace(state="PENDING", owner="") if row.attempt <= limit else row._replace(state="FAILED")
    return with_execution(state, call.execution, row)._replace(broken=stale)


def handed_back(state: State, guards: Guards, call: Call) -> State:
    """The row waits again, as if it had not been claimed."""
    row = state.executions[call.execution]
    claim_no = row.claim_no if guards.keeps_claim_no else row.claim_no - 1
    after = row._replace(state="PENDING", claim_no=claim_no, owner="", attempt=row.attempt - 1)
    return with_execution(state, call.execution, after)._replace(broken=_stale(row, call))


def lost(state: State, number: int, limit: int) -> State:
    """The row is lost with its replica, or waits for another attempt."""
    row = state.executions[number]
    broken = f"a rescue changed execution {number}, which was {row.state} (invariant 2)" if row.state in ENDED else ""
    row = row._replace(state="PENDING", owner="") if row.attempt <= limit else row._replace(state="LOST")
    return with_execution(state, number, row)._replace(broken=broken or state.broken)


def handed_over(state: State, guards: Guards, number: int) -> State:
    """The row waits for who goes on with the attempt that outlived its replica."""
    row = state.executions[number]
    broken = f"a rescue changed execution {number}, which was {row.state} (invariant 2)" if row.state in ENDED else ""
    row = row._replace(state="PENDING", owner="", attempt=row.attempt - guards.takes_attempt_back)
    return with_execution(state, number, row)._replace(broken=broken or state.broken)


def _stale(row: Execution, call: Call) -> str:
    if row.state == "RUNNING" and (row.owner, row.claim_no) == (call.owner, call.claim_no):
        return ""
    return f"{call} changed a row that was {row.state} under claim {row.claim_no} of {row.owner or '-'} (invariant 2)"


def orphans(state: State, guards: Guards, buries: str) -> Iterator[int]:
    """The rows that run under an owner who is not alive, but for those that are locked: find_orphans.sql."""
    dead = {*state.dead, buries} if guards.rescues_by_level else {buries}
    for number, row in enumerate(state.executions):
        if row.state == "RUNNING" and row.owner in dead and not is_locked(state, guards, number):
            yield number


def with_execution(state: State, number: int, row: Execution) -> State:
    rows = list(state.executions)
    rows[number] = row
    return state._replace(executions=tuple(rows))


def with_worker(state: State, worker: Worker) -> State:
    return state._replace(workers=renewed(state.workers, worker))


def add(state: State, call: Call) -> State:
    return state._replace(calls=added(state.calls, call))


def without(state: State, call: Call) -> State:
    return state._replace(calls=removed(state.calls, call))


def swap(state: State, call: Call, now: Call) -> State:
    return add(without(state, call), now)
