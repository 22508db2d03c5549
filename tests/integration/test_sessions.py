"""Sessions: what each may wait for, and that nobody waits for a silent server for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from shutil import rmtree

import psycopg
import pytest
from dev.postgres import Postgres, major, new_folder, new_postgres
from psycopg.rows import dict_row
from tests.faults.proxy import Network, Way

from scheduledjobs.errors import StoreBusy, StoreError, StoreUnavailable
from scheduledjobs.store import listen as listening
from scheduledjobs.store.leadership import SEAT, TRANSACTION_TIMEOUT_SINCE, check_session, take_over
from scheduledjobs.store.ledger import snapshot
from scheduledjobs.store.listen import LISTENING, listen
from scheduledjobs.store.sessions import Connection, Sessions, connect, replica_sessions
from scheduledjobs.web.sessions import web_sessions

SHORT = {"lock_timeout": "2s", "idle_in_transaction_session_timeout": "2s"}
EVERY = {
    "TimeZone": "UTC",
    "default_transaction_isolation": "read committed",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
HAS_TRANSACTION_TIMEOUT = major() >= TRANSACTION_TIMEOUT_SINCE // 10_000
TRANSACTION_LIMIT = {"transaction_timeout": "5s"} if HAS_TRANSACTION_TIMEOUT else {}
EXPECTED = {
    "scheduledjobs control": {"statement_timeout": "2500ms", **SHORT},
    "scheduledjobs work": {"statement_timeout": "4s", **SHORT},
    "scheduledjobs claim": {"statement_timeout": "4s", **SHORT},
    "scheduledjobs upkeep": {
        "statement_timeout": "4min",
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": "1min",
    },
    "scheduledjobs leader term=1": {"statement_timeout": "4s", **TRANSACTION_LIMIT, **SHORT},
    "scheduledjobs seat term=1": {"statement_timeout": "8s", "idle_in_transaction_session_timeout": "2s"},
    "scheduledjobs listen": {"statement_timeout": "2500ms"},
}


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture
def way(network: Network, postgres_server: Postgres) -> Iterator[Way]:
    made = Way(network, postgres_server.port)
    yield made
    made.close()


def through(way: Way, url: str, server: Postgres) -> str:
    return url.replace(f":{server.port}/", f":{way.port}/")


@asynccontextmanager
async def every_session(url: str) -> AsyncIterator[list[Connection]]:
    """One connection of each kind that a leading replica has, opened as it opens them."""
    kinds = replica_sessions(url)
    async with (
        take_over(url, "test", 0) as leader,
        connect(url, "scheduledjobs seat term=1", **SEAT) as seat,
        connect(url, "scheduledjobs listen", **LISTENING) as listener,
    ):
        assert leader is not None
        for sessions in kinds:
            await sessions.__aenter__()
        async with (
            kinds[0].session() as one,
            kinds[1].session() as two,
            kinds[2].session() as three,
            kinds[3].session() as four,
            leader.session() as five,
        ):
            yield [one, two, three, four, five, seat, listener]
        for sessions in kinds:
            await sessions.__aexit__(None, None, None)


async def test_every_session_has_its_limits_and_keepalives(database: str) -> None:
    found = {}
    async with every_session(database) as connections:
        for conn in connections:
            rows = await (await conn.execute("SELECT name, current_setting(name) FROM pg_settings")).fetchall()
            settings = dict(rows)
            expected = {**EVERY, **EXPECTED[settings["application_name"]]}
            found[settings["application_name"]] = {name: settings[name] for name in expected}
            assert found[settings["application_name"]] == expected
            client = conn.info.get_parameters()
            wanted = {"keepalives_idle": "5", "tcp_user_timeout": "10000", "connect_timeout": "5"}
            assert wanted.items() <= client.items()
    assert found.keys() == EXPECTED.keys()


async def test_no_session_has_its_statements_compiled(database: str) -> None:
    """Where the server can, a claim of a long backlog takes seconds to compile each time, and so is given up."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {conn.info.dbname} SET jit = on".encode())
        assert conn.execute("SELECT context FROM pg_settings WHERE name = 'jit'").fetchone() == ("user",)
    found = {}
    async with every_session(database) as connections, web_sessions(database) as web, web.session() as page:
        for conn in [*connections, page]:
            ask = "SELECT current_setting('application_name'), current_setting('jit')"
            found |= dict(await (await conn.execute(ask)).fetchall())
    assert found == dict.fromkeys([*EXPECTED, "scheduledjobs web"], "off")


async def test_a_default_of_the_database_does_not_change_the_isolation(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        name = conn.info.dbname
        conn.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'".encode())
    async with Sessions(database, "test", size=1) as sessions, sessions.transaction() as conn:
        row = await (await conn.execute("SHOW transaction_isolation")).fetchone()
    assert row == ("read committed",)


async def test_a_silent_connection_is_severed_and_the_next_one_works(
    database: str, postgres_server: Postgres, way: Way
) -> None:
    async with Sessions(through(way, database, postgres_server), "test", size=3, patience=0.5) as sessions:
        async with sessions.session() as one, sessions.session() as other:
            await one.execute("SELECT 1")
            await other.execute("SELECT 1")
        assert way.vanish() == 2
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            async with sessions.session() as conn:
                await conn.execute("SELECT 1")
        assert 0.4 < time.monotonic() - began < 2
        async with sessions.session() as conn:  # not the other silent one
            await conn.execute("SELECT 1")
        assert time.monotonic() - began < 2.5


async def test_a_long_answer_is_waited_for_where_it_is_expected(database: str) -> None:
    async with Sessions(database, "test", size=1, patience=0.2) as sessions:
        async with sessions.session(5.0) as conn:
            await conn.execute("SELECT pg_sleep(1.2)")
        with pytest.raises(StoreUnavailable):
            async with sessions.session() as conn:
                await conn.execute("SELECT pg_sleep(5)")


async def test_a_task_cancelled_while_the_server_is_silent_ends_within_a_second(
    database: str, postgres_server: Postgres, way: Way
) -> None:
    async with Sessions(through(way, database, postgres_server), "test", size=1) as sessions:
        asked = asyncio.Event()

        async def ask() -> None:
            async with sessions.transaction() as conn:
                await conn.execute("SELECT 1")
                way.stall()
                asked.set()
                await conn.execute("SELECT 2")

        task = asyncio.create_task(ask())
        await asked.wait()
        await asyncio.sleep(0.1)  # the statement is on its way
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 1.0
        way.flow()


async def test_a_cancelled_statement_is_cancelled_on_the_server(database: str) -> None:
    async with Sessions(database, "test", size=1) as sessions, connect(database, "other") as other:

        async def ask() -> None:
            async with sessions.session() as conn:
                await conn.execute("SELECT pg_sleep(60) AS asleep")

        task = asyncio.create_task(ask())
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test' AND state = 'active'"
        while (await (await other.execute(asleep.encode())).fetchone()) != (1,):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            while (await (await other.execute(asleep.encode())).fetchone()) != (0,):
                await asyncio.sleep(0.01)


async def test_a_listener_notices_that_its_connection_is_silent(
    database: str, postgres_server: Postgres, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "SIGN_SECONDS", 0.1)
    monkeypatch.setattr(listening, "ANSWER_SECONDS", 0.3)
    heard = asyncio.Event()
    task = asyncio.create_task(listen(through(way, database, postgres_server), ["channel"], lambda _: heard.set()))
    await heard.wait()
    heard.clear()
    async with connect(database, "test") as conn:
        await asyncio.sleep(0.3)  # some signs of life are asked for
        await conn.execute("NOTIFY channel")
        async with asyncio.timeout(2):
            await heard.wait()
    way.vanish()
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(3):
            await task


async def test_a_lock_that_is_waited_for_in_vain_is_not_a_broken_link(database: str) -> None:
    async with (
        connect(database, "stranger") as stranger,
        Sessions(database, "test", size=1, patience=5.0, lock_timeout="50ms") as sessions,
        stranger.transaction(),
    ):
        await stranger.execute("LOCK TABLE leadership")
        async with sessions.session() as conn:
            pid = conn.info.backend_pid
        with pytest.raises(StoreBusy):
            async with sessions.transaction() as conn:
                await conn.execute("SELECT term FROM leadership")
        async with sessions.session() as conn:
            assert conn.info.backend_pid == pid


@pytest.mark.skipif(not HAS_TRANSACTION_TIMEOUT, reason="PostgreSQL has had it since 17")
async def test_a_transaction_that_took_too_long_is_a_broken_link(database: str) -> None:
    async with Sessions(database, "test", size=1, patience=5.0, transaction_timeout="50ms") as sessions:
        with pytest.raises(StoreUnavailable):
            async with sessions.transaction() as conn:
                await conn.execute("SELECT pg_sleep(5)")
        async with sessions.session() as conn:
            await conn.execute("SELECT 1")


async def test_a_connection_that_was_severed_after_its_answer_came_is_not_lent_again(database: str) -> None:
    async with Sessions(database, "test", size=1) as sessions:
        async with sessions.session() as conn:
            await conn.execute("SELECT 1")
            conn.sever()
        async with sessions.session() as conn:
            await conn.execute("SELECT 1")


async def test_a_connection_to_a_server_that_takes_no_writes_is_given_up(database: str) -> None:
    async with Sessions(database, "test", size=1) as sessions:
        async with sessions.session() as conn:
            await conn.execute("SET default_transaction_read_only = on")  # as a provider does whose disk is full
            pid = conn.info.backend_pid
        with pytest.raises(StoreUnavailable, match="read-only transaction"):
            async with sessions.session() as conn:
                await conn.execute("UPDATE leadership SET term = term")
        async with sessions.session() as conn:
            assert conn.info.backend_pid != pid
            await conn.execute("UPDATE leadership SET term = term")


@pytest.fixture
def standby() -> Iterator[Postgres]:
    """A server that was the primary, and came back as a standby."""
    folder = new_folder("scheduledjobs-standby-")
    server = new_postgres(folder / "server")
    server.settings = {**server.settings, "wal_level": "replica"}
    try:
        server.start()
        server.stop()
        (server.folder / "data" / "standby.signal").touch()
        server.start()
        yield server
    finally:
        server.stop()
        rmtree(folder, ignore_errors=True)


async def test_a_standby_is_no_database_until_it_is_promoted(standby: Postgres) -> None:
    async with Sessions(standby.url, "test", size=1) as sessions:
        with pytest.raises(StoreUnavailable, match="hot standby"):
            async with sessions.session():
                pass
        with pytest.raises(StoreUnavailable, match="hot standby"):
            async with connect(standby.url, "test"):
                pass
        async with snapshot(standby.url) as conn:
            row = await (await conn.execute("SELECT pg_is_in_recovery() AS yes")).fetchone()
            assert row == (True,)
        with psycopg.connect(standby.url, autocommit=True) as conn:
            conn.execute("SELECT pg_promote()")
        async with sessions.session() as conn:
            await conn.execute("CREATE TABLE it_writes (n integer)")


async def test_an_address_that_asks_for_a_server_that_takes_writes_is_heard(database: str) -> None:
    url = f"{database}?target_session_attrs=read-write"
    async with connect(url, "test") as conn, snapshot(url), web_sessions(url) as web, web.session():
        name = conn.info.dbname
        await conn.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
    with pytest.raises(StoreUnavailable, match="read-only"):
        async with connect(url, "test"):
            pass
    async with connect(database, "test"), snapshot(url):
        pass


async def test_a_pooler_that_drops_what_a_session_asks_for_is_no_way_to_the_database(database: str) -> None:
    async with connect(database, "test") as conn:
        await check_session(conn)
    async with await Connection.connect(database, autocommit=True, row_factory=dict_row) as dropped:
        with pytest.raises(StoreError, match="a pooler"):
            await check_session(dropped)
