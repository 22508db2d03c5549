"""Dirty jobs: whose turn is next, namespace by namespace, and what a pick does not look at."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from scheduledjobs.steps.dirty import MOST_LOOKED_AT, Dirty

NOW = 1000.0


class Jobs:
    """Dirty jobs, named by a namespace and a number."""

    def __init__(self) -> None:
        self.dirty = Dirty()
        self.ready_at: dict[UUID, float] = {}
        self.looked_at = 0
        self._names: dict[UUID, str] = {}

    def mark(self, *names: str) -> None:
        self.dirty.mark((self.uid(name), name[0]) for name in names)

    def uid(self, name: str) -> UUID:
        uid = UUID(int=ord(name[0]) * 1_000_000 + int(name[1:]))
        self._names[uid] = name
        return uid

    def pick(self, most: int, now: float = NOW, behind: Iterable[str] = (), away: Iterable[str] = ()) -> list[str]:
        return [self._names[uid] for uid in self.dirty.pick(most, now, self._ready_at, list(behind), list(away))]

    def _ready_at(self, uid: UUID) -> float:
        self.looked_at += 1
        return self.ready_at.get(uid, 0.0)


def test_namespaces_take_turns_and_what_was_picked_goes_to_the_end() -> None:
    jobs = Jobs()
    jobs.mark("a1", "a2", "a3", "a4", "b1", "c1")
    assert jobs.pick(4) == ["a1", "b1", "c1", "a2"]
    assert jobs.pick(2) == ["b1", "c1"]
    assert jobs.pick(2) == ["a3", "b1"]
    assert sorted(jobs.pick(60)) == ["a1", "a2", "a3", "a4", "b1", "c1"]
    assert len(jobs.dirty) == 6


def test_urgent_jobs_come_first_whatever_their_namespace_until_they_are_calm() -> None:
    jobs = Jobs()
    jobs.mark("a1", "b1", "a2", "b2", "b3")
    for name in ("b3", "b2"):
        jobs.dirty.hurry(jobs.uid(name))
    assert jobs.pick(3) == ["b3", "b2", "a1"]
    jobs.dirty.calm(jobs.uid("b3"))
    assert jobs.pick(2) == ["b2", "b1"]


def test_a_job_is_clean_when_nothing_marked_it_after_what_was_read() -> None:
    jobs = Jobs()
    jobs.mark("a1", "a2")
    read = jobs.dirty.marks
    jobs.mark("a1")
    for name in ("a1", "a2", "a3"):
        jobs.dirty.clean(jobs.uid(name), read)
    assert jobs.pick(60) == ["a1"]
    jobs.dirty.forget(jobs.uid("a1"))
    assert jobs.pick(60) == []
    assert not jobs.dirty


def test_a_job_that_may_not_be_taken_yet_is_looked_at_once_until_it_may() -> None:
    jobs = Jobs()
    jobs.mark(*(f"a{number}" for number in range(9)))
    for number in range(8):
        jobs.ready_at[jobs.uid(f"a{number}")] = NOW + 60.0
    jobs.dirty.hurry(jobs.uid("a7"))
    assert jobs.pick(60) == ["a8"]
    jobs.dirty.hurry(jobs.uid("a6"))
    jobs.mark("a5")
    jobs.dirty.forget(jobs.uid("a4"))
    jobs.looked_at = 0
    assert jobs.pick(60, NOW + 59.0) == ["a8"]
    assert jobs.looked_at == 1
    assert len(jobs.dirty) == 8
    assert jobs.pick(2, NOW + 60.0) == ["a6", "a7"]
    assert len(jobs.pick(60, NOW + 60.0)) == 8


def test_a_pick_looks_at_a_bounded_number_of_jobs_and_the_next_one_goes_on() -> None:
    jobs = Jobs()
    names = [f"a{number}" for number in range(2 * MOST_LOOKED_AT)]
    jobs.mark(*names, "b1")
    for name in names:
        jobs.ready_at[jobs.uid(name)] = NOW + 60.0
    for _ in range(4):
        jobs.looked_at = 0
        assert jobs.pick(1) == ["b1"]
        assert jobs.pick(60) == ["b1"]
        assert jobs.looked_at <= 2 * MOST_LOOKED_AT
    jobs.looked_at = 0
    assert jobs.pick(60) == ["b1"]
    assert jobs.looked_at == 1
    found = {name for _ in range(50) for name in jobs.pick(60, NOW + 60.0)}
    assert found == {*names, "b1"}


def test_nothing_is_picked_of_a_namespace_that_is_put_off_nor_looked_at() -> None:
    jobs = Jobs()
    jobs.mark(*(f"a{number}" for number in range(1000)), "b1")
    assert jobs.pick(60, away=["a"]) == ["b1"]
    assert jobs.looked_at == 1


def test_a_namespace_comes_behind_the_others_and_has_a_part_of_a_full_pick() -> None:
    jobs = Jobs()
    jobs.mark("a1", "b1", "a2", "c1", "c2")
    assert jobs.pick(9, behind=["c", "a"], away=["a", "c", "d"]) == ["b1", "c1", "a1", "c2", "a2"]
    jobs.mark(*(f"b{number}" for number in range(10)))
    found = jobs.pick(8, behind=["a"], away=["a", "c"])
    assert [name[0] for name in found] == ["b"] * 6 + ["a"] * 2
