"""Leaders: the term, its raise, and the transactions that fire, as two replicas may interleave them.

Two replicas stand for election and fire the moments of one job, one after the other. A transaction is a session of
the server, apart from the client that began it: the client may lose the link, or die, and the server still commit.
Which replica holds the Lease is not modelled. To stand against a leader that lives is a fault; to stand where nobody
leads is not. So whatever the Lease does wrong is covered, and all safety is SQL's.

Of a suspended job the moments are one range row that grows, and the unique key does not see the second of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.search import Step, added, removed, renewed


class Guards(NamedTuple):
    """What keeps the rules; each can be taken away."""

    checks_term: bool = True
    """check_term.sql is the first statement of every write."""
    checks_holder: bool = True
    """... and asks for the holder, not for the number alone."""
    holds_share: bool = True
    """... FOR SHARE, so that lock_leadership.sql waits for the transaction, and later checks for the raise."""
    raises_by_compare_and_set: bool = True
    """raise_term.sql changes the term that was read and no other."""
    advances_by_compare_and_set: bool = True
    """advance_jobs.sql moves `next_fire_at` from the moment that was planned and no other."""
    inserts_what_moved: bool = True
    """fire.py inserts rows for the jobs that moved and no others."""
    has_unique_key: bool = True
    """UNIQUE (job_id, fire_time, run_key)."""
    is_one_transaction: bool = True
    """fire.py moves the job and inserts its row in one transaction."""
    loads_again: bool = True
    """fire.py loads the job again when the answer to a COMMIT is lost, and does not take it for done."""


class Leader(NamedTuple):
    """One replica; a new life is a new holder."""

    name: str
    life: int = 1
    mode: str = "away"
    """away, standing (it has read the term) or leading (it believes so)."""
    term: int = 0
    spell: int = 0
    plan: int = 0
    """The moment that it takes for the next one; 0 while it must look."""

    @property
    def holder(self) -> str:
        return f"{self.name}{self.life}"


class Session(NamedTuple):
    """A transaction in the server: the fire of a moment, or a raise of the term (moment 0)."""

    holder: str
    moment: int
    term: int
    spell: int
    at: str
    """begun, moved, inserted or committing: which statement was its last."""
    has_moved: bool = False
    """It holds the lock on the job's row."""
    extends: bool = False
    is_heard: bool = True
    """Its client still waits for its answers."""


class State(NamedTuple):
    """The database, what is under way in it, and what the replicas know. `spells` counts raises, for the rule only."""

    leaders: tuple[Leader, ...]
    faults: int
    term: int = 0
    holder: str = ""
    spells: int = 0
    next: int = 1
    rows: tuple[tuple[int, int], ...] = ()
    """The first and the last moment of each row in the log."""
    sessions: tuple[Session, ...] = ()
    broken: str = ""


Steps = Iterator[Step[State]]


class Leaders(NamedTuple):
    """The model: its guards and its bounds."""

    guards: Guards = Guards()
    moments: int = 2
    faults: int = 3
    is_suspended: bool = False
    asks_of_the_number: bool = True
    """Also: the term rises with each raise. Without, only what is written under it counts."""

    def start(self) -> State:
        return State((Leader("A"), Leader("B")), self.faults)

    def broken(self, state: State) -> str:
        if state.broken:
            return state.broken
        twice = [m for m in range(1, self.moments + 1) if _rows_of(state, m) > 1]
        return f"moment {twice[0]} has two rows: {state.rows} (invariant 1)" if twice else ""

    def left_undone(self, state: State) -> str:
        without = [m for m in range(1, self.moments + 1) if not _rows_of(state, m)]
        return f"all is at rest and moment {without[0]} has no row (invariant 1)" if without else ""

    def steps(self, state: State) -> Steps:
        for leader in state.leaders:
            mine = next((x for x in state.sessions if x.is_heard and x.holder == leader.holder), None)
            if mine is not None:
                yield from self._next_statement(state, leader, mine)
            elif leader.mode == "away":
                yield from self._stand(state, leader)
            elif leader.mode == "standing":
                yield from self._raise(state, leader)
            else:
                yield from self._plan_or_begin(state, leader)
        for session in state.sessions:
            if session.at == "committing":
                yield Step("the server", "commits", _title(session), self._committed(state, session))
            if not session.is_heard:
                yield Step("the server", "ends", f"{_title(session)}, whose client is gone", _without(state, session))
        if state.faults:
            yield from self._faults(state)

    # Election.

    def _stand(self, state: State, leader: Leader) -> Steps:
        is_led = any(x.mode == "leading" and x.holder == state.holder and x.term == state.term for x in state.leaders)
        if is_led and not state.faults:
            return
        after = _with(state, leader._replace(mode="standing", term=state.term))
        verb = "stands, though one leads," if is_led else "stands"
        after = after._replace(faults=state.faults - is_led)
        yield Step(leader.holder, verb, f"and reads term {state.term}", after, not is_led)

    def _raise(self, state: State, leader: Leader) -> Steps:
        if any(not x.moment for x in state.sessions):
            return
        blockers = [x for x in state.sessions if self.guards.checks_term and self.guards.holds_share]
        for blocker in blockers:
            after = self._ended(state, blocker)
            yield Step(leader.holder, "ends the session", f"that blocks it: {_title(blocker)}", after)
        if blockers:
            return
        if self.guards.raises_by_compare_and_set and state.term != leader.term:
            after = _with(state, leader._replace(mode="away", term=0))
            yield Step(leader.holder, "is too late to raise", f"term {leader.term}", after)
            return
        session = Session(leader.holder, 0, leader.term + 1, 0, "committing")
        yield Step(leader.holder, "locks and raises", f"to term {leader.term + 1}, COMMIT sent", _add(state, session))

    # Fire.

    def _plan_or_begin(self, state: State, leader: Leader) -> Steps:
        if not leader.plan or (leader.plan > self.moments >= state.next):
            after = _with(state, leader._replace(plan=state.next))
            yield Step(leader.holder, "loads the job:", f"moment {state.next} is next", after)
        if not 0 < leader.plan <= self.moments:
            return
        if not self.guards.checks_term:
            yield Step(leader.holder, "begins", f"to fire moment {leader.plan}, unchecked", _begun(state, leader))
            return
        if self.guards.holds_share and any(not x.moment for x in state.sessions):
            return  # the lock of a raise is in the way
        is_holder = leader.holder == state.holder or not self.guards.checks_holder
        if leader.term == state.term and is_holder:
            detail = f"to fire moment {leader.plan}; term {leader.term} is in force"
            yield Step(leader.holder, "begins", detail, _begun(state, leader))
        else:
            after = _with(state, leader._replace(mode="away", term=0, spell=0, plan=0))
            yield Step(leader.holder, "finds its term lost", f"({leader.term}), and writes nothing", after)

    def _next_statement(self, state: State, leader: Leader, mine: Session) -> Steps:
        if mine.at == "begun":
            yield from self._advance(state, leader, mine)
        elif mine.at == "moved":
            yield from self._insert(state, leader, mine)
        elif mine.at == "inserted":
            after = _swap(state, mine, mine._replace(at="committing"))
            yield Step(leader.holder, "sends COMMIT", f"of moment {mine.moment}", after)

    def _advance(self, state: State, leader: Leader, mine: Session) -> Steps:
        if any(x.has_moved for x in state.sessions):
            return  # the job's row is locked
        if state.next == mine.moment or not self.guards.advances_by_compare_and_set:
            after = _swap(state, mine, mine._replace(at="moved", has_moved=True))
            if not self.guards.is_one_transaction:
                after = after._replace(next=mine.moment + 1)
            yield Step(leader.holder, "moves the job", f"past moment {mine.moment}", after)
        elif self.guards.inserts_what_moved:
            after = _without(_with(state, leader._replace(plan=0)), mine)
            yield Step(leader.holder, "moves nothing:", f"moment {mine.moment} is not the next one any more", after)
        else:
            after = _swap(state, mine, mine._replace(at="moved"))
            yield Step(leader.holder, "moves nothing", f"of moment {mine.moment}, and goes on", after)

    def _insert(self, state: State, leader: Leader, mine: Session) -> Steps:
        if any(x.at in ("inserted", "committing") for x in state.sessions if x.moment and x is not mine):
            return  # the key, or the range row, is another's until that commits
        extends = self.is_suspended and any(last == mine.moment - 1 for _, last in state.rows)
        is_there = any(first == mine.moment for first, _ in state.rows)
        if is_there and not extends and self.guards.has_unique_key:
            after = _without(_with(state, leader._replace(plan=0)), mine)
            yield Step(leader.holder, "is refused by the unique key:", f"moment {mine.moment} has a row", after)
            return
        after = _swap(state, mine, mine._replace(at="inserted", extends=extends))
        verb = "extends the range row" if extends else "inserts a row"
        yield Step(leader.holder, verb, f"for moment {mine.moment}", after)

    # The server's part, and faults.

    def _committed(self, state: State, session: Session) -> State:
        state = _without(state, session)
        if not session.moment:
            return _raised(state, session, self.asks_of_the_number)
        late = f"a write of term {session.term} landed after a newer raise, to {state.term} (invariant 4)"
        rows = [row for row in state.rows if not (session.extends and row[1] == session.moment - 1)]
        firsts = [first for first, last in state.rows if session.extends and last == session.moment - 1]
        added = (firsts[0] if firsts else session.moment, session.moment)
        after = state._replace(
            rows=tuple(sorted([*rows, added])),
            next=session.moment + 1 if session.has_moved else state.next,
            broken=late if session.spell < state.spells else "",
        )
        client = _client(after, session)
        return _with(after, client._replace(plan=session.moment + 1)) if client else after

    def _ended(self, state: State, session: Session) -> State:
        """The session is over without a COMMIT; its client hears of it."""
        client, state = _client(state, session), _without(state, session)
        if client is None:
            return state
        return _with(state, client._replace(plan=0) if session.moment else client._replace(mode="away", term=0))

    def _faults(self, state: State) -> Steps:
        left = state._replace(faults=state.faults - 1)
        for session in state.sessions:
            client = _client(state, session)
            if client is None:
                continue
            after = self._ended(left, session)
            if session.at == "committing":
                after = _add(after, session._replace(is_heard=False))
                if session.moment and not self.guards.loads_again:
                    after = _with(after, client._replace(plan=session.moment + 1))
            else:
                after = _add(after, session._replace(is_heard=False))
            yield Step(session.holder, "loses the link", f"in {_title(session)}", after, is_needed=False)
        for leader in state.leaders:
            if leader.mode != "away":
                unheard = [x._replace(is_heard=x.is_heard and x.holder != leader.holder) for x in state.sessions]
                after = left._replace(sessions=tuple(sorted(unheard)))
                after = _with(after, Leader(leader.name, leader.life + 1))
                yield Step(leader.holder, "dies", f"and comes back as {leader.name}{leader.life + 1}", after, False)


def _rows_of(state: State, moment: int) -> int:
    return sum(first <= moment <= last for first, last in state.rows)


def _title(session: Session) -> str:
    if not session.moment:
        return f"the raise to term {session.term} of {session.holder}"
    return f"the fire of moment {session.moment} by {session.holder} in term {session.term}"


def _client(state: State, session: Session) -> Leader | None:
    return next((x for x in state.leaders if session.is_heard and x.holder == session.holder), None)


def _with(state: State, leader: Leader) -> State:
    return state._replace(leaders=renewed(state.leaders, leader))


def _add(state: State, session: Session) -> State:
    return state._replace(sessions=added(state.sessions, session))


def _without(state: State, session: Session) -> State:
    return state._replace(sessions=removed(state.sessions, session))


def _swap(state: State, session: Session, now: Session) -> State:
    return _add(_without(state, session), now)


def _begun(state: State, leader: Leader) -> State:
    return _add(state, Session(leader.holder, leader.plan, leader.term, leader.spell, "begun"))


def _raised(state: State, session: Session, asks_of_the_number: bool) -> State:  # noqa: FBT001
    after = state._replace(term=session.term, holder=session.holder, spells=state.spells + 1)
    if asks_of_the_number and session.term <= state.term:
        after = after._replace(broken=f"a raise left the term at {session.term}, after {state.term} (invariant 4)")
    client = _client(after, session)
    if client is None:
        return after
    return _with(after, client._replace(mode="leading", term=session.term, spell=after.spells, plan=0))
