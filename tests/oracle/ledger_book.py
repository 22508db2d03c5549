"""A book that a test keeps of one job: what was done to it and when, and so what must have become of its moments.

An instant that the scheduler reports is believed only after it is held against the database's time just before and
just after the action. Nothing else is taken from the code under test: moments come from the oracle, what became of
them from the rows of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.oracle.ledger_oracle import TICK, Rules, Stretch, is_sharp, outcomes, standing

MILLISECOND = timedelta(milliseconds=1)
NEVER = datetime.min.replace(tzinfo=UTC)
BY_OVERLAP = ("Overlap", "QueueFull", "Replaced")
Row = dict[str, Any]


@dataclass(frozen=True)
class Terms:
    """What a resource asks for, as far as its moments hang on it: its rules, and its suspension or pause."""

    rules: Rules
    policy: str
    suspend: bool = False
    paused_until: datetime | None = None

    def suspends(self, now: datetime) -> bool:
        """Whether the job is suspended under these terms."""
        return self.suspend or (self.paused_until is not None and self.paused_until > now)

    @property
    def ends(self) -> datetime | None:
        """When a suspension under these terms ends by itself."""
        return None if self.suspend else self.paused_until


@dataclass
class Suspension:
    """From some instant in [before, after] to `until`; a pause ends at `ends` by itself, `until` says it has."""

    before: datetime
    after: datetime
    ends: datetime | None = None
    until: datetime | None = None

    def holds(self, moment: datetime, jitter: timedelta) -> bool | None:
        """Whether a moment lies in it, or comes before it and is due in it; None: too near to its beginning to say."""
        end = min((at for at in (self.ends, self.until) if at is not None), default=None)
        if moment < self.before - jitter or (end is not None and moment >= end):
            return False
        return True if moment >= self.after else None


@dataclass(frozen=True)
class Look:
    """What the database showed of a job after an action that ran between `before` and `after`."""

    before: datetime
    after: datetime
    rows: Sequence[Row]
    job: Row
    ended_at: datetime | None = None
    """The effective_from of the version that says it is deleted."""


def newest_of(row: Row) -> datetime:
    found: datetime = row["last_fire_time"] or row["fire_time"]
    return found


def is_live(rows: Sequence[Row]) -> bool:
    return any(row["state"] in ("PENDING", "RUNNING") or row["abandoned"] for row in scheduled(rows))


def scheduled(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["run_key"] == ""]


@dataclass
class Book:
    """One job, from its creation on."""

    uid: UUID
    created_at: datetime
    terms: Terms
    effective: datetime = NEVER
    newest: datetime = NEVER
    """The newest decided moment."""
    is_deleted: bool = False
    may_overlap: bool = False
    stretches: list[Stretch] = field(default_factory=list)
    suspensions: list[Suspension] = field(default_factory=list)
    due: list[datetime] = field(default_factory=list)
    tokens: dict[str, bool] = field(default_factory=dict)
    """Run-now tokens; True for one that was there when the job was first seen."""
    rows: Sequence[Row] = ()
    before: datetime = NEVER
    """The newest decided moment before the action in hand; `rules` were in force then."""
    rules: Rules | None = None

    @property
    def stretch(self) -> Stretch:
        """The schedule in force."""
        return self.stretches[-1]

    @property
    def is_suspended(self) -> bool:
        """Whether a suspension is recorded that nobody has ended; the time of a pause may be over."""
        return bool(self.suspensions) and self.suspensions[-1].until is None

    # What is done to the job

    def create(self, look: Look, stretch_at: Callable[[datetime], Stretch]) -> None:
        """The job was mirrored for the first time."""
        self._take(look)
        self._believe(look, look.job["effective_from"])
        self._open(look, stretch_at)
        self._change_suspension(look)
        self._hold(look, None)

    def change(self, look: Look, terms: Terms, stretch_at: Callable[[datetime], Stretch] | None) -> None:
        """Another resource was mirrored; `stretch_at(effective_from)` makes its schedule, None: it has the same."""
        self._take(look)
        self._end_pause(look)
        was_suspended, was_once = self.is_suspended, self.stretch.run_at is not None
        self.terms = terms
        resumes = was_suspended and not terms.suspends(look.before)
        suspends = not was_suspended and terms.suspends(look.before)
        change = "Suspended" if suspends else "Edited" if stretch_at is not None else None
        if stretch_at is not None or (resumes and self._has_moment_after(look.before)):
            self._believe(look, look.job["effective_from"])
        if stretch_at is not None:
            self._open(look, stretch_at)
        elif resumes:
            self._count_anew(look.rows)
        self._change_suspension(look)
        self._hold(look, change, was_suspended=was_suspended)
        if stretch_at is not None:
            self._must_be_decided(look.before - TICK, self.stretches[:-1])
        elif suspends and was_once:
            self._must_be_decided(look.before - self.terms.rules.jitter - TICK)
        elif suspends or (resumes and not was_once):
            self._must_be_decided(look.before - TICK)

    def delete(self, look: Look) -> None:
        """The job is gone."""
        self._take(look)
        self._end_pause(look)
        was_suspended = self.is_suspended
        assert look.ended_at is not None
        self._believe(look, look.ended_at)
        self._close(look)
        self.is_deleted = True
        self._hold(look, "Deleted", was_suspended=was_suspended)
        self._must_be_decided(look.before - TICK)

    def end_pauses(self, look: Look) -> None:
        """Pauses whose time has come were ended."""
        self._take(look)
        self._end_pause(look)
        self._hold(look, None)

    def fire(self, look: Look, *, is_complete: bool) -> None:
        """Due moments were fired; all of them if `is_complete`."""
        self._take(look)
        self._hold(look, None)
        if is_complete and not self.is_deleted and not self.is_suspended:
            self._must_be_decided(look.before - self.terms.rules.jitter)

    def sweep(self, look: Look) -> None:
        """Suspended moments were written."""
        self._take(look)
        self._hold(look, None)
        if self.is_suspended and not self.is_deleted and self.stretch.run_at is None:
            ends = self.suspensions[-1].ends
            if ends is None or ends > look.after:
                self._must_be_decided(look.before - self.terms.rules.jitter)

    def release(self, look: Look) -> None:
        """What waited for the end of a run may go on."""
        self._take(look)
        waits = self.stretch.delay is not None and self.stretch.planned is None
        if waits and not self.is_deleted and not self.is_suspended and not is_live(self.rows):
            self._plan_chain(scheduled(self.rows))
        self._hold(look, None)

    def nothing(self, look: Look) -> None:
        """Whatever was done, it decided nothing and moved nothing."""
        self._take(look)
        assert self.newest == self.before, "decided by an action that decides nothing"
        self._hold(look, None)

    # What follows from it

    def _take(self, look: Look) -> None:
        self.before, self.rules = self.newest, self.terms.rules
        self.newest = max((newest_of(row) for row in scheduled(look.rows)), default=NEVER)
        assert self.newest >= self.before, "a decided moment has lost its row"
        assert self.newest <= look.after or self.newest == self.before, ("decided early", self.newest, look.after)
        if self.is_suspended and look.before < self.suspensions[-1].before:  # the clock was set back, and goes on
            self.suspensions[-1].before = self.suspensions[-1].after = look.before

    def _believe(self, look: Look, reported: datetime) -> None:
        """Hold an effective_from against the time of the action, and what it may not be earlier than."""
        floor = self._floor(look.before, self.newest)
        assert floor <= reported <= max(look.after, floor), ("effective_from", reported, floor, look.after)
        self.effective = reported

    def _floor(self, at: datetime, newest: datetime) -> datetime:
        return max(at, self.effective, newest + MILLISECOND)

    def _end_pause(self, look: Look) -> None:
        """A pause whose time is over has ended then, whenever that is noticed."""
        last = self.suspensions[-1] if self.suspensions else None
        if self.is_deleted or last is None or last.until is not None or last.ends is None or last.ends > look.before:
            return
        if self._has_moment_after(last.ends):
            self.effective = self._floor(last.ends, self.before)
            self._count_anew(self.rows)
        last.until = max(last.ends, self.effective)

    def _has_moment_after(self, at: datetime) -> bool:
        """Whether a moment was left when the action in hand began, once those before `at` are settled; a one-shot is
        not settled, a chain goes on."""
        after = self.before if self.stretch.run_at is not None else max(at - TICK, self.before)
        return self.stretch.delay is not None or next(self.stretch.following(after), None) is not None

    def _open(self, look: Look, stretch_at: Callable[[datetime], Stretch]) -> None:
        opened = stretch_at(self.effective)
        opened.anchor = self.effective
        if self.stretches:
            self._close(look)
            if opened.period == self.stretch.period:
                opened.anchor = self.stretch.anchor
        self.stretches.append(opened)
        self._count_anew(look.rows)

    def _close(self, look: Look) -> None:
        """A one-shot was due if its moment had come, though the version after it may count from later."""
        self.stretch.close(self.effective if self.stretch.run_at is None else min(self.effective, look.after))

    def _count_anew(self, rows: Sequence[Row]) -> None:
        """A chain counts from the effective_from, or from the end of the run that goes on."""
        if self.stretch.delay is not None:
            self.stretch.settle(self.effective)
            if not is_live(rows):
                self.stretch.begin(self.effective)

    def _plan_chain(self, rows: Sequence[Row]) -> None:
        """The next moment follows the end of the newest run, or of one that went on through the last change."""
        if rows:
            last = max(rows, key=lambda row: row["fire_time"])
            ends = [last["finished_at"]]
            if last["fire_time"] < self.effective:
                ends += [row["finished_at"] for row in rows if row["finished_at"] > self.effective]
            self.stretch.plan(max(*ends, newest_of(last), self.effective))
        else:
            self.stretch.begin(self.effective)

    def _change_suspension(self, look: Look) -> None:
        self.may_overlap |= self.terms.policy == "Allow"
        suspends = self.terms.suspends(look.before)
        if self.is_suspended and suspends:
            self.suspensions[-1].ends = self.terms.ends
        elif self.is_suspended:
            self.suspensions[-1].until = max(look.before, self.effective)
        elif suspends:
            self.suspensions.append(Suspension(look.before, look.after, self.terms.ends))

    # What the rows must show

    def _hold(self, look: Look, change: str | None, *, was_suspended: bool = False) -> None:
        """Hold what was decided, and what is planned, against the book."""
        decided = self._moments(self.before, self.newest, self.stretches)
        became = self._became(scheduled(look.rows), decided)
        self._hold_outcomes(look, became, change, was_suspended=was_suspended)
        self.due += decided
        if self.stretch.planned is not None and self.stretch.planned <= self.newest:
            self.stretch.planned = None
        self._hold_plan(look.job)
        self._hold_overlap(look.rows)
        assert not (self.is_deleted and [row for row in look.rows if row["state"] == "PENDING"]), "of a deleted job"
        self.rows = look.rows
        last = self.suspensions[-1] if self.suspensions else None
        if last is not None and last.until is not None and self.stretch.run_at is None:
            self._must_be_decided(last.until - TICK)

    def _moments(self, after: datetime, upto: datetime, stretches: Sequence[Stretch]) -> list[datetime]:
        """The moments in (after, upto] of schedules that were in force one after the other."""
        found: list[datetime] = []
        for stretch in stretches:
            found += [moment for moment in stretch.between(after, upto) if not found or moment > found[-1]]
        return found

    def _must_be_decided(self, upto: datetime, stretches: Sequence[Stretch] | None = None) -> None:
        left = self._moments(self.newest, upto, self.stretches if stretches is None else stretches)
        assert not left, ("due and not decided", left[:5], upto)

    def _became(self, rows: Sequence[Row], decided: Sequence[datetime]) -> dict[datetime, Row]:
        """Return which new row, or range row that grew, stands for each decided moment: exactly one."""
        known = {row["id"]: row for row in scheduled(self.rows)}
        became: dict[datetime, Row] = {}
        for row in rows:
            old = known.pop(row["id"], None)
            since = NEVER if old is None else newest_of(old)
            covered = [m for m in decided if max(row["fire_time"], since + TICK) <= m <= newest_of(row)]
            grown = (row["moment_count"] or 1) - (0 if old is None else old["moment_count"] or 1)
            assert len(covered) == grown, ("a row for what was not due", row, covered, decided)
            assert not became.keys() & covered, ("two rows", covered, row)
            became |= dict.fromkeys(covered, row)
        assert not known, ("rows are gone", known)
        assert set(decided) == set(became), ("no row for", sorted(set(decided) - set(became)))
        return became

    def _hold_outcomes(
        self, look: Look, became: dict[datetime, Row], change: str | None, *, was_suspended: bool
    ) -> None:
        inside = {moment: self._is_inside(moment) for moment in became}
        for moment, row in became.items():
            is_suspended = (row["state"], row["reason"]) == ("SKIPPED", "Suspended")
            assert inside[moment] is None or inside[moment] == is_suspended, (moment, row, self.suspensions)
            runs = change == "Suspended" and row["state"] == "PENDING"
            assert not runs or (row["due_at"] or moment) < look.after, ("runs in a suspension", row, look.after)
        active = [moment for moment in became if inside[moment] is False]
        assert self.rules is not None
        if None in inside.values() or not is_sharp(active, self.rules, look.before, look.after):
            return
        expected = outcomes(active, self.rules, look.before, change)
        for moment, reason in expected.items():
            if self._is_a_once(moment):
                assert not (self.is_suspended and change is None), "a one-shot waits for the end of its suspension"
                waited = change if was_suspended else reason
                hold_outcome(became[moment], "InThePast" if moment < self.created_at else waited)
            else:
                hold_outcome(became[moment], reason)
        if "Coalesced" in expected.values():
            (run,) = [became[moment] for moment, reason in expected.items() if reason is None]
            assert (run["missed_count"], run["first_missed_at"]) == (len(expected) - 1, min(expected)), run

    def _is_inside(self, moment: datetime) -> bool | None:
        """Whether a moment is one that a suspension skips; None: too near to its beginning to say."""
        if self._is_a_once(moment):
            return False
        assert self.rules is not None
        found = [suspension.holds(moment, self.rules.jitter) for suspension in self.suspensions]
        return True if True in found else None if None in found else False

    def _is_a_once(self, moment: datetime) -> bool:
        return any(stretch.run_at == moment for stretch in self.stretches)

    def _hold_plan(self, job: Row) -> None:
        if self.is_deleted:
            assert (job["state"], job["next_fire_at"]) == ("DELETED", None)
            return
        assert job["effective_from"] == self.effective, ("effective_from", job["effective_from"], self.effective)
        chain = self.stretch.delay is not None
        planned = self.stretch.planned if chain else next(self.stretch.following(self.newest), None)
        assert job["next_fire_at"] == planned, ("the next moment", job["next_fire_at"], planned, self.stretch)
        is_over = planned is None and not chain
        assert job["state"] == ("COMPLETED" if is_over else "SUSPENDED" if self.is_suspended else "ACTIVE"), job

    def _hold_overlap(self, rows: Sequence[Row]) -> None:
        """No two runs at once, and one that waits at most; unless Allow was ever in force."""
        if not self.may_overlap:
            assert sum(row["state"] == "RUNNING" for row in rows) <= 1, rows
            held = [row for row in rows if row["is_held"] and row["reason"] in ("Queued", "Replacing")]
            assert len(held) <= 1, held

    def hold_all(self) -> None:
        """Hold all rows of the log against all moments that were due, and all run-now tokens."""
        counts = standing(scheduled(self.rows), self.due)
        assert {moment: count for moment, count in counts.items() if count != 1} == {}
        asked = sorted(row["run_key"] for row in self.rows if row["run_key"])
        assert asked == sorted(self.tokens), "a run-now token has one row"
        for row in self.rows:
            if row["run_key"]:
                assert (row["reason"] == "PresentAtCreation") == self.tokens[row["run_key"]], row


def hold_outcome(row: Row, reason: str | None) -> None:
    """A moment is missed for `reason`; None: it runs, or another run was in its way."""
    if reason is None:
        assert row["state"] == "PENDING" or (row["state"] == "SKIPPED" and row["reason"] in BY_OVERLAP), row
    else:
        assert (row["state"], row["reason"]) == ("MISSED", reason), (reason, row)
