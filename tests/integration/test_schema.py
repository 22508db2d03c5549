"""The schema: migrations, days, and that every statement is one that this database takes."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from dev.postgres import Postgres
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer

from scheduledjobs import metrics
from scheduledjobs.errors import SchemaError, StoreBusy, StoreError, StoreUnavailable
from scheduledjobs.steps.clock import Clock
from scheduledjobs.steps.prune import Prune
from scheduledjobs.store import migrate as migrations
from scheduledjobs.store.migrate import check_schema, migrate
from scheduledjobs.store.partitions import PARENTS, ensure_days, list_partitions, partition_name
from scheduledjobs.store.queries import names, sql
from scheduledjobs.store.sessions import Sessions, connect

DAY = timedelta(days=1)


@pytest.mark.parametrize("name", names())
def test_every_statement_can_be_prepared(database: str, name: str) -> None:
    text = sql(name)
    with psycopg.connect(database, autocommit=True) as conn:
        query = PostgresQuery(Transformer(conn))
        query.convert(text, _AnyParameters())
        result = conn.pgconn.prepare(b"test", query.query)
        assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, result.error_message.decode()


class _AnyParameters(dict[str, Any]):
    def __missing__(self, _: str) -> None:
        return None

    def __contains__(self, _: object) -> bool:
        return True


async def test_migrating_twice_changes_nothing(database: str) -> None:
    assert await migrate(database) == []


async def fresh(server: Postgres) -> str:
    """The URL of a database without a schema."""
    name = f"fresh_{uuid4().hex[:8]}"
    async with connect(server.url, "test") as conn:
        await conn.execute(f"CREATE DATABASE {name}".encode())
    return server.url.rsplit("/", 1)[0] + f"/{name}"


async def test_replicas_that_start_together_migrate_once(postgres_server: Postgres) -> None:
    url = await fresh(postgres_server)
    applied = await asyncio.gather(*(migrate(url) for _ in range(4)))
    assert sorted(applied) == [[], [], [], [migration.name for migration in migrations.load_migrations()]]


async def days_with_index(url: str, index: str) -> set[str]:
    """The partitions that have a part of a partitioned index."""
    query = """
    SELECT i.indrelid::regclass::text FROM pg_inherits AS h JOIN pg_index AS i ON i.indexrelid = h.inhrelid
    WHERE h.inhparent = %s::regclass AND i.indisvalid
    """
    async with connect(url, "test") as conn:
        return {name for (name,) in await (await conn.execute(query.encode(), [index])).fetchall()}


async def days(url: str) -> set[str]:
    async with connect(url, "test") as conn:
        return {partition_name("job_execution_log", day) for day in await list_partitions(conn)}


WEB = ["0003_web", "0006_comments"]
"""What brings tables and indexes of REST, and the comments on them."""


async def test_a_migration_waits_for_a_reader_no_longer_than_others_can_wait_for_it(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that comes after it waits behind it: fires, and the heartbeats of all replicas, while somebody dumps."""
    later = migrations.Migration(9999, "9999_later", b"ALTER TABLE job_definition ADD COLUMN later integer")
    known = migrations.load_migrations()
    monkeypatch.setattr(migrations, "load_migrations", lambda: [*known, later])
    monkeypatch.setattr(migrations, "LOCK_LIMIT", "50ms")
    async with connect(database, "test") as reader:
        async with reader.transaction():
            await reader.execute("SELECT FROM job_definition")
            async with asyncio.timeout(10):
                with pytest.raises(StoreBusy):
                    await migrate(database)
        assert await migrate(database) == ["9999_later"]


async def test_an_index_that_comes_later_is_on_the_days_that_are_there_and_on_those_to_come(
    postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, everything = await fresh(postgres_server), migrations.load_migrations()
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "load_migrations", lambda: [each for each in everything if each.name not in WEB])
        await migrate(url)
    assert len(old := await days(url)) > 7
    assert await migrate(url) == WEB
    assert await days_with_index(url, "job_execution_log_failed") == old
    async with connect(url, "test") as conn:
        await ensure_days(conn, date(2031, 1, 1), date(2031, 1, 2))
    assert await days_with_index(url, "job_execution_log_failed") == await days(url) > old


async def test_the_term_in_force_is_in_the_history_that_comes_later(
    postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, everything = await fresh(postgres_server), migrations.load_migrations()
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "load_migrations", lambda: [each for each in everything if each.name not in WEB])
        await migrate(url)
    async with connect(url, "test") as conn:
        await conn.execute("UPDATE leadership SET term = 7, holder = 'one', acquired_at = now()")
        await migrate(url)
        assert await (await conn.execute("SELECT term, holder FROM leadership_term")).fetchall() == [(7, "one")]


async def test_a_changed_migration_is_refused(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = migrations.load_migrations()
    changed = [migrations.Migration(first.number, first.name, b"-- other"), *others]
    monkeypatch.setattr(migrations, "load_migrations", lambda: changed)
    with pytest.raises(SchemaError, match="was changed after it was applied"):
        await migrate(database)


async def test_a_newer_schema_is_refused(database: str) -> None:
    async with connect(database, "test") as conn:
        await conn.execute("INSERT INTO schema_migration (number, name, checksum) VALUES (9999, '9999_later', '')")
        with pytest.raises(SchemaError, match="newer than this program"):
            await check_schema(conn)


async def test_a_database_without_schema_says_what_to_do(postgres_server: Postgres) -> None:
    async with connect(postgres_server.url, "test") as conn:
        with pytest.raises(SchemaError, match="scheduledjobs migrate"):
            await check_schema(conn)


async def test_a_database_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable):
        await migrate("postgresql://localhost:1/nothing")


async def test_makers_of_one_day_do_not_hurt_each_other(database: str) -> None:
    async def make() -> None:
        async with connect(database, "test") as conn:
            await ensure_days(conn, date(2031, 1, 1), date(2031, 1, 3))

    await asyncio.gather(*(make() for _ in range(4)))
    async with connect(database, "test") as conn:
        assert {date(2031, 1, 1), date(2031, 1, 2), date(2031, 1, 3)} <= set(await list_partitions(conn))


async def test_a_day_is_made_while_others_write(database: str) -> None:
    async with connect(database, "writer") as writer, connect(database, "maker") as maker, writer.transaction():
        await writer.execute(INSERT.encode(), {"moment": datetime.now(UTC), "state": "SUCCEEDED"})
        await asyncio.wait_for(ensure_days(maker, date(2031, 1, 1), date(2031, 1, 1)), 5)


INSERT = """
INSERT INTO job_execution_log (fire_time, namespace, job_name, state, trigger, handler, job_id, version)
VALUES (%(moment)s, 'default', 'job', %(state)s, 'SCHEDULE', 'log', gen_random_uuid(), 1)
"""


async def prune(database: str, now: datetime) -> set[date]:
    async with Sessions(database, "test", size=1) as sessions:
        await Prune(sessions, Clock(), retention_days=2).prune(now)
    async with connect(database, "test") as conn:
        return set(await list_partitions(conn))


async def test_days_past_the_retention_are_dropped_and_days_ahead_are_made(database: str) -> None:
    today = datetime.now(UTC).date()
    days = await prune(database, datetime.now(UTC) + 5 * DAY)
    assert min(days) == today + 3 * DAY
    assert max(days) == today + 12 * DAY


async def test_old_terms_are_forgotten_but_for_the_newest_hundred(database: str) -> None:
    fill = """
    INSERT INTO leadership_term
    SELECT n, 'one', now() - make_interval(days => CASE WHEN n <= %s THEN 3 ELSE 1 END)
    FROM generate_series(1, 150) AS n
    """
    for old, kept in ((120, 100), (20, 130)):
        async with connect(database, "test") as conn:
            await conn.execute("DELETE FROM leadership_term")
            await conn.execute(fill.encode(), [old])
        await prune(database, datetime.now(UTC))
        async with connect(database, "test") as conn:
            cursor = await conn.execute("SELECT count(*), max(term) FROM leadership_term")
            assert await cursor.fetchone() == (kept, 150)


async def test_days_that_cannot_be_made_are_told_and_keep_no_old_ones(database: str) -> None:
    """They run out unseen otherwise, and a disk that is full stays so."""
    now = datetime.now(UTC)
    await prune(database, now)
    assert metrics.DAYS_AHEAD._value.get() == 7
    async with connect(database, "test") as conn:
        await conn.execute(
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'full'; END $$"
        )
        await conn.execute(
            "CREATE EVENT TRIGGER full_disk ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION refuse()"
        )
    with pytest.raises(StoreError, match="full"):
        await prune(database, now + 5 * DAY)
    assert metrics.DAYS_AHEAD._value.get() == 2
    async with connect(database, "test") as conn:
        assert min(await list_partitions(conn)) == now.date() + 3 * DAY


async def tables(database: str, day: date) -> list[str]:
    """The tables of a day, partitions or not."""
    async with connect(database, "test") as conn:
        query = "SELECT relname FROM pg_class WHERE relname = ANY(%s) ORDER BY relname"
        found = await conn.execute(query, [[partition_name(parent, day) for parent in PARENTS]])
        return [name for (name,) in await found.fetchall()]


async def test_a_day_that_was_detached_and_not_dropped_is_dropped(database: str) -> None:
    """Who drops it may be killed between the two, and the last thing to go is a day of the log."""
    now = datetime.now(UTC)
    old, kept = now.date(), now.date() + 3 * DAY
    async with connect(database, "test") as conn:
        for parent in ("job_execution_attempt", "job_execution_output"):
            await conn.execute(f"DROP TABLE {partition_name(parent, old)}".encode())
        for day in (old, kept):
            name = partition_name("job_execution_log", day)
            await conn.execute(f"ALTER TABLE job_execution_log DETACH PARTITION {name} CONCURRENTLY".encode())
    assert old not in await prune(database, now + 5 * DAY)  # what is kept begins on the day `kept`
    assert await tables(database, old) == []
    assert len(await tables(database, kept)) == len(PARENTS)


async def test_a_table_that_only_looks_like_a_day_is_left(database: str) -> None:
    async with connect(database, "test") as conn:
        await conn.execute("CREATE ROLE somebody")
        for name in ("job_execution_log_20250231", "job_execution_log_202501011", "job_execution_log_20250101"):
            await conn.execute(f"CREATE TABLE {name} (a int)".encode())
        await conn.execute("ALTER TABLE job_execution_log_20250101 OWNER TO somebody")
    await prune(database, datetime.now(UTC))
    async with connect(database, "test") as conn:
        cursor = await conn.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'job_execution_log_2025%'")
        assert await cursor.fetchone() == (3,)
        await conn.execute("DROP OWNED BY somebody")
        await conn.execute("DROP ROLE somebody")


async def test_a_day_with_live_rows_waits(database: str) -> None:
    now = datetime.now(UTC)
    async with connect(database, "test") as conn:
        await conn.execute(INSERT.encode(), {"moment": now, "state": "RUNNING"})
    assert now.date() in await prune(database, now + 5 * DAY)
    async with connect(database, "test") as conn:
        await conn.execute("UPDATE job_execution_log SET state = 'SUCCEEDED'")
    assert now.date() not in await prune(database, now + 5 * DAY)
