"""Halving: the one that cannot be written is found, and what is only locked holds up nobody."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from scheduledjobs.errors import StoreBusy, StoreError, StoreUnavailable
from scheduledjobs.steps.halve import MOST_WAITS, halving


class Writer:
    def __init__(self, refuses: dict[int, Exception]) -> None:
        self.refuses = refuses
        self.written: list[int] = []
        self.bad: list[int] = []
        self.unheard: list[int] = []
        self.calls = 0

    async def write(self, items: Sequence[int]) -> None:
        self.calls += 1
        for item in items:
            if item in self.refuses:
                raise self.refuses[item]
        self.written += items

    def tell(self, item: int, _: Exception) -> None:
        self.bad.append(item)


async def test_the_one_that_is_refused_stands_alone() -> None:
    writer = Writer({5: StoreError("no")})
    await halving(range(8), writer.write, writer.tell, writer.unheard.extend)
    assert (sorted(writer.written), writer.bad, writer.unheard) == ([0, 1, 2, 3, 4, 6, 7], [5], [])


async def test_the_one_that_is_locked_is_told_of_after_the_others_are_written() -> None:
    writer = Writer({0: StoreBusy("locked"), 5: StoreError("no")})
    with pytest.raises(StoreBusy):
        await halving(range(8), writer.write, writer.tell, writer.unheard.extend)
    assert (sorted(writer.written), writer.bad, writer.unheard) == ([1, 2, 3, 4, 6, 7], [5], [])


async def test_a_broken_link_is_nobodys_fault() -> None:
    writer = Writer({5: StoreUnavailable("gone")})
    with pytest.raises(StoreUnavailable):
        await halving(range(8), writer.write, writer.tell, writer.unheard.extend)
    assert (writer.written, writer.bad, writer.unheard) == ([], [], list(range(8)))


async def test_of_what_a_lost_answer_may_have_written_only_that_is_told() -> None:
    writer = Writer({1: StoreError("no"), 5: StoreUnavailable("gone")})
    with pytest.raises(StoreUnavailable):
        await halving(range(8), writer.write, writer.tell, writer.unheard.extend)
    assert (writer.written, writer.bad, writer.unheard) == ([0, 2, 3], [1], [4, 5, 6, 7])


async def test_a_table_that_is_locked_is_not_tried_for_each_object() -> None:
    writer = Writer({n: StoreBusy("locked") for n in range(1000)})
    with pytest.raises(StoreBusy):
        await halving(range(1000), writer.write, writer.tell, writer.unheard.extend)
    assert (writer.written, writer.bad, writer.calls) == ([], [], MOST_WAITS + 1)
