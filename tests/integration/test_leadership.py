"""Terms: the database lets one leader write, whatever the Lease says."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from scheduledjobs.errors import StoreError, TermLost
from scheduledjobs.steps.release import Release
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store import leadership
from scheduledjobs.store.leadership import claim_cluster, read_leadership, read_seat, take_over, take_seat
from scheduledjobs.store.sessions import connect


async def term(url: str) -> int:
    async with connect(url, "test") as conn:
        return int((await read_leadership(conn))["term"])


async def test_a_term_is_raised_from_the_value_that_was_read(database: str) -> None:
    async with take_over(database, "a", 0) as first:
        assert first is not None
        assert first.term == 1
        async with take_over(database, "b", 0) as late:
            assert late is None
        assert await term(database) == 1


async def history(url: str) -> list[tuple[int, str]]:
    async with connect(url, "test") as conn:
        cursor = await conn.execute("SELECT term, holder FROM leadership_term ORDER BY term")
        return list(await cursor.fetchall())


async def test_each_term_that_was_taken_is_in_the_history(database: str) -> None:
    for expected, holder in enumerate("ab"):
        async with take_over(database, holder, expected), take_over(database, "late", expected) as late:
            assert late is None
    assert await history(database) == [(1, "a"), (2, "b")]


async def test_the_history_does_not_stand_in_the_way_of_a_leader(database: str) -> None:
    async with connect(database, "test") as conn:
        await conn.execute("INSERT INTO leadership_term VALUES (1, 'nobody', now())")
    assert await _take(database, 0) == 1


async def test_the_seat_is_taken_while_the_leader_lives_and_free_after(database: str) -> None:
    async with connect(database, "test") as conn:
        async with take_over(database, "a", 0):
            assert await read_seat(conn) == (1, False)
        async with asyncio.timeout(5):  # the server lets go of a session's locks a moment after its end
            while await read_seat(conn) != (1, True):
                await asyncio.sleep(0.01)


async def seated(url: str) -> list[str]:
    """Return the names of the sessions that hold a seat."""
    async with connect(url, "test") as conn:
        cursor = await conn.execute(
            "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE locktype = 'advisory' AND datname = current_database()"
        )
        return [name for (name,) in await cursor.fetchall()]


async def test_a_seat_that_a_frozen_rival_holds_is_taken_once_that_has_ended(database: str) -> None:
    """The rival froze before its raise. Were the seat then left free, a follower would take over from a leader that
    lives as soon as the Lease stands still."""
    async with connect(database, "frozen") as frozen:
        assert await take_seat(frozen, 1)
        async with take_over(database, "a", 0) as leader:
            assert leader is not None
            assert await seated(database) == ["frozen"]
            await frozen.close()
            async with asyncio.timeout(5):
                while await seated(database) != ["scheduledjobs seat term=1"]:
                    await asyncio.sleep(0.01)


async def test_a_write_that_began_before_the_take_over_ends_before_the_new_term(database: str) -> None:
    async with take_over(database, "a", 0) as old:
        assert old is not None
        async with old.write() as conn:
            await conn.execute("UPDATE leadership SET acquired_at = acquired_at")
            rival = asyncio.create_task(_take(database, 1))
            await asyncio.sleep(0.2)  # the rival is given the time to take over, and must not
            assert not rival.done()
        assert await asyncio.wait_for(rival, 5) == 2
        with pytest.raises(TermLost):
            async with old.write():
                raise AssertionError("an older term must not write")


async def test_a_leader_with_nothing_to_write_learns_that_its_term_is_over(database: str) -> None:
    async def nothing(_: Any) -> None: ...

    async with take_over(database, "a", 0) as old:
        assert old is not None
        release = Release(old, Specs(), nothing, *[lambda *_: None] * 3, on_unheard=lambda _: None)
        await release.step()
        assert await _take(database, 1) == 2
        with pytest.raises(TermLost):
            await release.step()


async def _take(database: str, expected: int) -> int:
    async with take_over(database, "b", expected) as leader:
        assert leader is not None
        return leader.term


async def test_a_take_over_that_is_called_off_at_its_last_moment_is_none(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is had, and what was to end those who held it is ending: a cancel is not for that one."""
    tidies, may_end = asyncio.Event(), asyncio.Event()

    async def end_blockers_soon(*_: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            tidies.set()
            await may_end.wait()

    monkeypatch.setattr(leadership, "_end_blockers_soon", end_blockers_soon)
    taking = asyncio.create_task(_take(database, 0))
    await asyncio.wait_for(tidies.wait(), 5)
    taking.cancel()
    await asyncio.wait({taking}, timeout=5)
    may_end.set()
    assert taking.cancelled()
    assert await term(database) == 0


async def test_a_leader_frozen_in_its_transaction_is_ended_after_half_a_second(database: str) -> None:
    async with connect(database, "scheduledjobs leader term=0") as frozen:
        await frozen.execute("BEGIN")
        await frozen.execute("SELECT FROM leadership FOR SHARE")
        started = time.monotonic()
        assert await _take(database, 0) == 1
        assert 0.4 < time.monotonic() - started < 2.0
        with pytest.raises(StoreError):
            async with connect(database, "test"):
                await frozen.execute("SELECT 1")


@pytest.mark.parametrize("name", ["somebody's psql", "scheduledjobs leader term=1", "scheduledjobs leader term=2"])
async def test_who_is_no_older_leader_is_not_ended_though_it_blocks(database: str, name: str) -> None:
    """A candidate that comes late may not end the sessions of the leader that was quicker."""
    async with connect(database, name) as stranger:
        await stranger.execute("BEGIN")
        await stranger.execute("SELECT FROM leadership FOR SHARE")
        taking = asyncio.create_task(_take(database, 0))
        await asyncio.sleep(1.2)  # longer than the patience with leaders' sessions
        assert not taking.done()
        await stranger.execute("COMMIT")
        assert await asyncio.wait_for(taking, 5) == 1


async def test_overlapping_readers_do_not_starve_a_take_over(database: str) -> None:
    stop = asyncio.Event()

    async def read() -> None:
        async with connect(database, "reader") as conn:
            while not stop.is_set():
                async with conn.transaction():
                    await conn.execute("SELECT FROM leadership FOR SHARE")
                    await asyncio.sleep(0.01)

    readers = [asyncio.create_task(read()) for _ in range(6)]
    started = time.monotonic()
    assert await _take(database, 0) == 1
    took = time.monotonic() - started
    stop.set()
    await asyncio.gather(*readers)
    assert took < 1.0


async def test_the_database_belongs_to_one_cluster(database: str) -> None:
    async with connect(database, "test") as conn:
        await claim_cluster(conn, "cluster-a")
        await claim_cluster(conn, "cluster-a")
        with pytest.raises(StoreError, match="belongs to the cluster cluster-a"):
            await claim_cluster(conn, "cluster-b")
