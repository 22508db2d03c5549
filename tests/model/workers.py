"""Workers: claim, attempt, completion, heartbeat and rescue, as two replicas and a leader may interleave them.

A replica with one slot claims executions, runs them and writes how they ended. A statement on its way is apart from
the replica that sent it: the replica may lose the link, be declared dead or die, and the statement still land. There
is no clock: to fall silent stands for ten seconds without a heartbeat, whenever they come; before that, after eight,
the replica has ceased to trust itself, though its code may run on. The leader that rescues is one: terms fence it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.database import (
    ENDED,
    Attempt,
    Call,
    Execution,
    Guards,
    Rescue,
    State,
    Worker,
    add,
    completed,
    handed_back,
    handed_over,
    is_locked,
    lost,
    matches,
    orphans,
    swap,
    taken,
    with_execution,
    with_worker,
    without,
    writers,
)
from tests.model.search import Step

Steps = Iterator[Step[State]]

LOOKING = ("look", "hand back")
"""What a replica waits for while it looks for claims that it does not hold."""


class Workers(NamedTuple):
    """The model: its guards, its bounds, and two stricter rules that may be asked for."""

    guards: Guards = Guards()
    executions: int = 1
    unfired: int = 0
    """How many of them are yet to fall due; the replica A fires them, and may claim them on insert."""
    faults: int = 3
    limit: int = 1
    """How many retries an execution has."""
    stops: int = 0
    """How often a replica is told to stop, and comes back."""
    survives: bool = False
    """What an attempt runs is outside of its replica, by a name that follows from the attempt: it is handed over."""
    tells_truly: bool = False
    """Also: what a replica is told of a completion that changed no row is true."""
    the_dead_change_nothing: bool = False
    """Also: no statement of a replica that was declared dead changes a row, not even one that is nobody else's."""

    def start(self) -> State:
        rows = (Execution("NOT DUE YET"),) * self.unfired + (Execution(),) * (self.executions - self.unfired)
        return State(rows, (Worker("A"), Worker("B")), self.faults, self.stops)

    def broken(self, state: State) -> str:
        if state.broken:
            return state.broken
        for number, row in enumerate(state.executions):
            if row.starts > self.limit + 1:
                return f"execution {number} was started {row.starts} times, with {self.limit} retries (promise)"
            if row.state == "LOST" and self.survives:
                return f"execution {number} is LOST, and its work goes on (promise)"
            if row.state == "LOST" and not row.starts and not self.faults:
                return f"execution {number} is LOST and was never started, though nothing failed (drain)"
            if len(claims := writers(state, self.guards, number)) > 1:
                return f"execution {number} may be changed under {_list(claims)} (invariant 2)"
        for worker in state.workers:
            held = worker.held
            if held is not None and held.stage == "runs" and worker.is_trusted:
                row = state.executions[held.execution]
                if (row.state, row.owner, row.claim_no) != ("RUNNING", held.owner, held.claim_no):
                    theirs = f"{row.state} under claim {row.claim_no} of {row.owner or '-'}"
                    return f"{worker.id} trusts itself and runs what is {theirs} (invariant 2)"
        return ""

    def left_undone(self, state: State) -> str:
        left = [f"execution {n} is {row.state}" for n, row in enumerate(state.executions) if row.state not in ENDED]
        return f"all is at rest and {left[0]} (invariant 5)" if left else ""

    def steps(self, state: State) -> Steps:
        for worker in state.workers:
            yield from self._work(state, worker)
            yield from self._beat(state, worker)
        for call in state.calls:
            yield from self._land(state, call)
        yield from self._fire(state)
        yield from self._rescue(state)
        if state.faults:
            yield from self._faults(state)

    # A replica.

    def _work(self, state: State, worker: Worker) -> Steps:
        held = worker.held
        if held is None:
            yield from self._claim(state, worker)
        elif held.stage != "writing":
            verb = "ends its attempt and sends" if held.stage == "runs" else "sends again"
            for outcome in self._outcomes(worker) if held.stage == "runs" else (held.outcome,):
                call = Call("complete", held.owner, held.execution, held.claim_no, outcome)
                now = held._replace(stage="writing", outcome=outcome)
                yield Step(worker.id, verb, str(call), add(with_worker(state, worker._replace(held=now)), call))
        may_look = not worker.is_draining or self.guards.closes_after_claims
        if worker.is_trusted and may_look and not (worker.inserts and self.guards.looks_past_inserts):
            yield from self._reconcile(state, worker)
        if worker.is_draining:
            yield from self._close(state, worker)
        elif state.stops and not worker.inserts:  # it stops leading first
            after = with_worker(state._replace(stops=state.stops - 1), worker._replace(is_draining=True))
            yield Step(worker.id, "is told to stop", "", after, is_needed=False)

    def _outcomes(self, worker: Worker) -> tuple[str, ...]:
        """How an attempt may end: over, where its replica stops or loses its trust, and the work goes on."""
        hands_over = self.survives and (worker.is_draining or not worker.is_trusted)
        return ("ok", "fail", "over") if hands_over else ("ok", "fail")

    def _claim(self, state: State, worker: Worker) -> Steps:
        """One that is sent where nothing waits, and lands where something does, might have been sent before."""
        may_claim = worker.is_trusted and not worker.is_draining and not worker.waits
        if may_claim and any(row.state == "PENDING" for row in state.executions):
            after = add(with_worker(state, worker._replace(waits="claim")), Call("claim", worker.id))
            yield Step(worker.id, "sends", "a claim", after)

    def _reconcile(self, state: State, worker: Worker) -> Steps:
        """What it holds is read before the log is: it matters where an insert may bring more in between."""
        if not worker.waits and self.unfired and worker.held is None:
            yield Step(
                worker.id, "begins to look", "", with_worker(state, worker._replace(waits="look")), is_needed=False
            )
        if worker.waits == "look":
            yield Step(worker.id, "has looked", "", with_worker(state, worker._replace(waits="")))
        elif worker.waits:
            return
        held = worker.held if self.guards.spares_held and worker.waits != "look" else None
        for number, row in enumerate(state.executions):
            is_held = held is not None and (held.execution, held.claim_no) == (number, row.claim_no)
            if row.state == "RUNNING" and row.owner == worker.id and not is_held:
                call = Call("hand back", worker.id, number, row.claim_no)
                after = add(with_worker(state, worker._replace(waits="hand back")), call)
                yield Step(worker.id, "finds a claim that it does not hold, sends", str(call), after)

    def _close(self, state: State, worker: Worker) -> Steps:
        """It waits for what runs, and for no claim or hand-back that is on its way: see App._shut_down."""
        owns = any(row.state == "RUNNING" and row.owner == worker.id for row in state.executions)
        if worker.held is not None or worker.inserts or (self.guards.closes_after_claims and (worker.waits or owns)):
            return
        if state.rescue is None or state.rescue.buries != worker.id:
            after = _gone(state._replace(dead=tuple(sorted({*state.dead, worker.id}))), worker)
            yield Step(worker.id, "says goodbye", "and comes back", after)

    def _beat(self, state: State, worker: Worker) -> Steps:
        if worker.is_trusted or (state.rescue and state.rescue.buries == worker.id):
            return
        if worker.answer:
            is_good = worker.answer == "fresh" or not self.guards.trusts_from_sending
            after = with_worker(state, worker._replace(answer="", is_trusted=is_good))
            yield Step(worker.id, "reads the answer", f"to its heartbeat ({worker.answer})", after)
        elif worker.id in state.dead and self.guards.death_is_final:
            held = worker.held
            if held is not None and held.stage == "runs":
                held = held._replace(stage="ended", outcome="over" if self.survives else "fail")
            anew = worker._replace(life=worker.life + 1, is_trusted=True, held=held)
            yield Step(worker.id, "hears that it is dead,", f"stops, is {anew.id} now", with_worker(state, anew))
        else:
            silent = tuple(x for x in state.silent if x != worker.id or not self.guards.buries_the_silent)
            after = with_worker(state._replace(silent=silent), worker._replace(answer="fresh"))
            yield Step(worker.id, "beats:", "its heartbeat moves", after)

    # The leader's fires.

    def _fire(self, state: State) -> Steps:
        """A fires; what it inserts waits for whoever claims it, or is claimed by A with the insert."""
        for number, row in enumerate(state.executions):
            if row.state != "NOT DUE YET":
                continue
            yield Step("the leader", "fires", f"execution {number}", with_execution(state, number, Execution()))
            worker = state.workers[0]
            may = worker.is_trusted and not worker.is_draining and not worker.inserts and worker.held is None
            if may and not (worker.waits in LOOKING and self.guards.inserts_past_looks):
                call = Call("insert", worker.id, number, 1)
                after = add(with_worker(state, worker._replace(inserts=True)), call)
                yield Step(worker.id, "fires, sends", str(call), after, is_needed=False)

    # The server.

    def _land(self, state: State, call: Call) -> Steps:
        is_waiting = self.guards.looks_at_instance and state.rescue and state.rescue.buries == call.owner
        if is_waiting:
            return
        if call.kind == "claim":
            yield from self._claim_lands(state, call)
        elif call.kind == "insert":
            yield from self._insert_lands(state, call)
        elif call.at == "open":
            after = self._answered(self._changed(state, call, self._completed(state, call)), call, changed=True)
            yield Step("the server", "commits", str(call), after)
        elif not is_locked(state, self.guards, call.execution):
            yield from self._change_lands(state, call)
        if not call.is_heard:
            yield Step("the server", "drops", f"{call}, whose replica is gone", without(state, call))

    def _claim_lands(self, state: State, call: Call) -> Steps:
        waiting = [n for n, row in enumerate(state.executions) if row.state == "PENDING"]
        if call.at == "picked":
            yield self._takes(state, call, call.execution)
        elif not waiting or (self.guards.looks_at_instance and call.owner in state.dead):
            yield Step("the server", "finds nothing", f"for {call}", self._answered(state, call, changed=False))
        elif self.guards.claims_under_lock:
            yield self._takes(state, call, waiting[0])
        else:
            after = swap(state, call, call._replace(at="picked", execution=waiting[0]))
            yield Step("the server", "picks without a lock", f"execution {waiting[0]} for {call}", after)

    def _insert_lands(self, state: State, call: Call) -> Steps:
        if state.executions[call.execution].state != "NOT DUE YET":
            yield Step("the server", "finds the row there", f"for {call}", self._answered(state, call, changed=False))
        else:
            after = self._answered(taken(state, call, call.execution), call, changed=True)
            yield Step("the server", "inserts", f"execution {call.execution} as claimed by {call.owner}", after)

    def _takes(self, state: State, call: Call, number: int) -> Step[State]:
        after = taken(state, call, number)
        now = call._replace(execution=number, claim_no=after.executions[number].claim_no)
        after = self._answered(self._changed(state, call, swap(after, call, now)), now, changed=True)
        return Step("the server", "gives", f"execution {number} to {call.owner} under claim {now.claim_no}", after)

    def _change_lands(self, state: State, call: Call) -> Steps:
        is_match = matches(state, self.guards, call.owner, call.execution, call.claim_no)
        if not is_match:
            yield Step("the server", "changes no row", f"for {call}", self._answered(state, call, changed=False))
        elif call.kind == "complete":
            after = swap(state, call, call._replace(at="open"))
            yield Step("the server", "changes and locks the row", f"for {call}", after)
        else:
            after = self._changed(state, call, handed_back(state, self.guards, call))
            after = self._answered(after, call, changed=True)
            yield Step("the server", "takes back", f"what is given back: {call}", after)

    def _completed(self, state: State, call: Call) -> State:
        return completed(state, self.guards, call, self.limit, keeps_written=self.tells_truly)

    def _changed(self, state: State, call: Call, after: State) -> State:
        """The rule that is stricter than the code."""
        if self.the_dead_change_nothing and call.owner in state.dead and not after.broken:
            return after._replace(
                broken=f"{call}, which was declared dead, changed the log (stricter than invariant 2)"
            )
        return after

    def _answered(self, state: State, call: Call, *, changed: bool) -> State:
        """The statement has ended; its replica, if it still waits, acts on the answer."""
        state = without(state, call)
        if not call.is_heard:
            return state
        worker = next(x for x in state.workers if x.name == call.owner[0])
        if call.kind == "complete":
            broken = "" if changed or not self.tells_truly else self._untruth(state, call)
            return with_worker(state, worker._replace(held=None))._replace(broken=state.broken or broken)
        if call.kind == "insert":
            worker = worker._replace(inserts=False)
        elif call.kind == "hand back" or not changed:
            worker = worker._replace(waits="")
        if call.kind == "hand back" or not changed:
            return with_worker(state, worker)
        may_start = not worker.is_draining and (worker.is_trusted or not self.guards.starts_trusting_itself)
        if not may_start or (worker.id != call.owner and self.guards.starts_under_its_id):
            back = Call("hand back", call.owner, call.execution, call.claim_no)
            return add(with_worker(state, worker._replace(waits="hand back")), back)
        if worker.held is not None:  # a claim and an insert have each brought one, for one slot
            kept = worker if call.kind == "insert" else worker._replace(waits="")
            return with_worker(state, kept)  # the code keeps a slot for each; here it is found, and given back
        attempt = Attempt(call.execution, call.claim_no, call.owner)
        row = state.executions[call.execution]
        starts = max(row.starts, row.attempt) if self.survives else row.starts + 1  # its name is that of the attempt
        started = with_execution(state, call.execution, row._replace(starts=starts))
        waits = worker.waits if call.kind == "insert" else ""
        started = with_worker(started, worker._replace(waits=waits, held=attempt))
        is_late = call.owner in state.dead
        return started._replace(
            broken=f"{worker.id} starts what dead {call.owner} claimed (invariant 2)" if is_late else ""
        )

    def _untruth(self, state: State, call: Call) -> str:
        """No row was changed: find_ended_claims.sql tells what was written before from what is stale."""
        row = state.executions[call.execution]
        is_written = call.claim_no in row.written
        is_done = row.state in ENDED and (row.owner, row.claim_no) == (call.owner, call.claim_no)
        if self.guards.tells_apart or is_done == is_written:
            return ""
        is_, was = ("done", "discarded") if is_done else ("stale", "written")
        return f"{call} is called {is_}, and it was {was}"

    # The leader, and faults.

    def _rescue(self, state: State) -> Steps:
        if state.rescue is not None:
            buries, found = state.rescue
            dead = {*state.dead, buries} - {""}
            after = state._replace(rescue=None, dead=tuple(sorted(dead)))
            for number in found:
                after = handed_over(after, self.guards, number) if self.survives else lost(after, number, self.limit)
            yield Step("the leader", "commits its rescue:", _rescued(buries, found), after)
            return
        for buries in [x for x in state.silent if x not in state.dead] or [""]:
            if self.guards.looks_at_instance and any(x.at == "open" and x.owner == buries for x in state.calls):
                continue
            found = tuple(orphans(state, self.guards, buries))
            if buries or found:
                after = state._replace(rescue=Rescue(buries, found))
                yield Step("the leader", "begins a rescue:", _rescued(buries, found), after)

    def _faults(self, state: State) -> Steps:
        left = state._replace(faults=state.faults - 1)
        for call in state.calls:
            if call.is_heard:
                worker = next(x for x in state.workers if x.name == call.owner[0])
                if call.kind == "insert":
                    worker = worker._replace(inserts=False)
                elif call.kind != "complete":
                    worker = worker._replace(waits="")
                elif worker.held is not None:
                    worker = worker._replace(held=worker.held._replace(stage="ended"))
                after = swap(with_worker(left, worker), call, call._replace(is_heard=False))
                yield Step(worker.id, "loses the link", f"that waits for {call}", after, is_needed=False)
        for worker in state.workers:
            if worker.id in state.silent or worker.id in state.dead:
                continue
            silent = tuple(sorted({*state.silent, worker.id}))
            cut = worker._replace(
                is_trusted=worker.is_trusted and not self.guards.trust_ends_first, answer="old" if worker.answer else ""
            )
            after = with_worker(left._replace(silent=silent), cut)
            yield Step(worker.id, "falls silent", "", after, is_needed=False)
        for worker in state.workers:
            if worker.held is not None or worker.waits or worker.inserts:
                yield Step(worker.id, "dies", "and comes back", _gone(left, worker), is_needed=False)


def _gone(state: State, worker: Worker) -> State:
    """Its process has ended, and another begins; the leader sees the old id silent, if it is not dead already."""
    calls = [x._replace(is_heard=x.is_heard and x.owner[0] != worker.name) for x in state.calls]
    silent = {*state.silent, worker.id} - {*state.dead}
    after = state._replace(calls=tuple(sorted(calls)), silent=tuple(sorted(silent)))
    return with_worker(after, Worker(worker.name, worker.life + 1))


def _rescued(buries: str, found: tuple[int, ...]) -> str:
    rows = ", ".join(f"execution {number}" for number in found) or "nothing"
    return f"{buries} is dead, {rows} lost" if buries else f"{rows} lost"


def _list(claims: set[tuple[str, int]]) -> str:
    return " and ".join(f"claim {claim_no} of {owner}" for owner, claim_no in sorted(claims))
