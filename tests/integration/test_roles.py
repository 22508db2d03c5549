"""Database roles: the runtime does all that replicas do and changes no schema; a reader sees its namespaces alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from dev.postgres import Postgres
from psycopg import errors
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer
from tests.integration.conftest import Stage, resource
from tests.integration.test_schema import INSERT, _AnyParameters
from tests.integration.test_schema import prune as prune_at

from scheduledjobs.core.resource import RUN_NOW
from scheduledjobs.errors import SchemaError, StoreError
from scheduledjobs.steps.inbox import Gone
from scheduledjobs.store.executions import WORK, claim_executions
from scheduledjobs.store.leadership import lock_leadership, take_over
from scheduledjobs.store.migrate import check_schema, load_migrations, migrate
from scheduledjobs.store.partitions import DAYS_AHEAD, PARENTS, ensure_days, list_partitions, partition_name
from scheduledjobs.store.queries import execute, names, sql
from scheduledjobs.store.roles import reader_sql, roles_sql
from scheduledjobs.store.sessions import POINT_READS, connect

DAY = timedelta(days=1)
numbers = count(1)


@dataclass(frozen=True)
class Roled:
    """A database with the roles, and how each of them reaches it."""

    server: Postgres
    name: str
    prefix: str

    def url(self, kind: str) -> str:
        """The address of PREFIX_KIND, or that of the administrator."""
        if kind == "administrator":
            return self.server.url.rsplit("/", 1)[0] + f"/{self.name}"
        return f"postgresql://{self.prefix}_{kind}:secret@127.0.0.1:{self.server.port}/{self.name}"

    def run(self, kind: str, text: str, *params: Any) -> list[tuple[Any, ...]]:
        """Run SQL as a role; return what the last statement returned."""
        with psycopg.connect(self.url(kind), autocommit=True) as conn:
            cursor = conn.execute(text.encode(), params or None)
            return cursor.fetchall() if cursor.description else []

    def make_roles(self) -> None:
        """Make the roles as an administrator does, with a password each."""
        self.run("administrator", roles_sql(self.prefix))
        for kind in ("migrator", "runtime"):
            self.run("administrator", f"ALTER ROLE {self.prefix}_{kind} PASSWORD 'secret'")

    def make_reader(self, kind: str, *namespaces: str) -> None:
        """Make a reader of these namespaces."""
        self.run("administrator", reader_sql(f"{self.prefix}_{kind}", namespaces))
        self.run("administrator", f"ALTER ROLE {self.prefix}_{kind} PASSWORD 'secret'")


def empty(server: Postgres) -> Roled:
    number = next(numbers)
    made = Roled(server, f"roled_{number}", f"r{number}")
    with psycopg.connect(server.url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {made.name}".encode())
    return made


@pytest.fixture(scope="module")
def shared(postgres_server: Postgres) -> Iterator[Roled]:
    """One database with the roles, for tests that leave nothing behind."""
    yield from _migrated(postgres_server)


@pytest.fixture
def roled(postgres_server: Postgres) -> Iterator[Roled]:
    """A database whose schema was made by its migrator, its runtime granted what it needs."""
    yield from _migrated(postgres_server)


def _migrated(server: Postgres) -> Iterator[Roled]:
    made = empty(server)
    made.make_roles()
    applied = asyncio.run(migrate(made.url("migrator"), runtime=f"{made.prefix}_runtime"))
    assert applied == [migration.name for migration in load_migrations()]
    yield made
    with psycopg.connect(server.url, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {made.name} WITH (FORCE)".encode())


DDL = [
    "CREATE TABLE mine (a int)",
    "CREATE TEMPORARY TABLE mine (a int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql RETURN 1",
    "DROP TABLE job_execution_log",
    "DROP VIEW reader_job_execution_log",
    "ALTER TABLE job_definition ADD COLUMN mine int",
    "ALTER TABLE job_execution_log DISABLE TRIGGER ALL",
    "ALTER FUNCTION make_day SET search_path = mine",
    "CREATE INDEX mine ON job_definition (name)",
    "CREATE OR REPLACE FUNCTION scheduler_now() RETURNS timestamptz LANGUAGE sql RETURN now()",
    "TRUNCATE job_execution_log",
    "DELETE FROM job_execution_log",
    "DELETE FROM job_definition",
    "UPDATE schema_migration SET checksum = ''",
    "INSERT INTO reader_namespace VALUES ('me', '*')",
    "SELECT * FROM reader_namespace",
    "CREATE ROLE mine",
    "SELECT pg_read_file('/etc/passwd')",
    "COPY job_definition TO PROGRAM 'true'",
]


@pytest.mark.parametrize("statement", DDL)
def test_the_runtime_may_not_change_the_schema_nor_who_reads_what(shared: Roled, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        shared.run("runtime", statement)


def test_the_runtime_may_not_become_the_owner(shared: Roled) -> None:
    for kind in ("owner", "migrator"):
        with pytest.raises(errors.InsufficientPrivilege):
            shared.run("runtime", f"SET ROLE {shared.prefix}_{kind}")


@pytest.mark.parametrize("kind", ["runtime", "migrator"])
def test_no_role_reads_other_databases_of_the_server(shared: Roled, postgres_server: Postgres, kind: str) -> None:
    other = empty(postgres_server)
    other.make_roles()
    open_to_all = empty(postgres_server)
    open_to_all.run("administrator", "CREATE TABLE secret (a int)")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        Roled(postgres_server, other.name, shared.prefix).run(kind, "SELECT 1")
    with pytest.raises(errors.InsufficientPrivilege):
        Roled(postgres_server, open_to_all.name, shared.prefix).run(kind, "SELECT * FROM secret")


def test_nobody_logs_in_as_the_owner_and_all_is_the_owners(shared: Roled) -> None:
    owner = f"{shared.prefix}_owner"
    assert shared.run("administrator", "SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", owner) == [(False,)]
    assert shared.run("migrator", "SELECT current_user, session_user") == [(owner, f"{shared.prefix}_migrator")]
    query = "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    assert shared.run("administrator", query) == [(owner,)]


def needs_generic_plans(roled: Roled) -> None:
    if int(roled.run("runtime", "SHOW server_version_num")[0][0]) < 160_000:
        pytest.skip("EXPLAIN (GENERIC_PLAN) came with PostgreSQL 16")


@pytest.mark.parametrize("name", sorted(set(names()) - {"lock_leadership"}))  # which has no plan, and a test below
def test_every_statement_is_allowed_to_the_runtime(shared: Roled, name: str) -> None:
    query = PostgresQuery(Transformer())
    query.convert(sql(name), _AnyParameters())
    needs_generic_plans(shared)
    with psycopg.connect(shared.url("runtime"), autocommit=True) as conn:  # a plan is refused as the statement would be
        result = conn.pgconn.exec_(b"EXPLAIN (GENERIC_PLAN) " + query.query)
    assert result.status == psycopg.pq.ExecStatus.TUPLES_OK, result.error_message.decode()


RIGHTS = """
SELECT c.relname::text, ARRAY(
    SELECT p FROM unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS p WHERE has_table_privilege(%s, c.oid, p)
)
FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
"""
ALL = {"SELECT", "INSERT", "UPDATE", "DELETE"}
KEPT = {"SELECT", "INSERT", "UPDATE"}
RUNTIME = {
    "schema_migration": {"SELECT"},
    "leadership": {"SELECT", "UPDATE"},
    "leadership_term": {"SELECT", "INSERT", "DELETE"},
    "scheduler_instance": ALL,
    "job_definition": KEPT,
    "job_definition_version": KEPT,
    "job_execution_log": KEPT,
    "job_execution_attempt": KEPT,
    "job_execution_output": KEPT,
    "run_request": {"SELECT", "INSERT"},
    "notice": ALL,
    "notice_message": ALL,
    "notice_failing": ALL,
    "notice_cursor": ALL,
    "reader_namespace": set(),  # which would let it decide who reads what
}


def test_every_table_is_granted_to_the_runtime_or_kept_from_it_on_purpose(shared: Roled) -> None:
    found = {name: set(rights) for name, rights in shared.run("administrator", RIGHTS, f"{shared.prefix}_runtime")}
    assert found == RUNTIME, "a migration that makes a table adds it to runtime.sql, roles.sql and here"


async def test_the_runtime_migrates_nothing_and_says_who_may(postgres_server: Postgres) -> None:
    made = empty(postgres_server)
    made.make_roles()
    with pytest.raises(SchemaError, match=r"may not make the schema: permission denied.*database-roles\.md"):
        await migrate(made.url("runtime"))


async def test_a_schema_that_is_up_to_date_suits_the_runtime(roled: Roled) -> None:
    async with connect(roled.url("runtime"), "test") as conn:
        await check_schema(conn)
    assert await migrate(roled.url("runtime")) == []
    assert await migrate(roled.url("migrator"), runtime=f"{roled.prefix}_runtime") == []


async def test_a_user_that_is_not_there_is_named(roled: Roled) -> None:
    with pytest.raises(SchemaError, match=r'SCHEDULEDJOBS_DATABASE_URL: role "nobody_at_all" does not exist'):
        await migrate(roled.url("migrator"), runtime="nobody_at_all")


async def test_a_job_lives_its_whole_life_as_the_runtime(roled: Roled) -> None:
    stage, uid = Stage(roled.url("runtime")), uuid4()
    await stage.mirror(resource(uid=uid, fixedRate="10s"))
    stage.tick(seconds=11)
    await stage.fire()
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    assert await stage.complete(replica, claimed) == {claimed["id"]: "SUCCEEDED"}
    asked = resource(uid=uid, resource_version=2, fixedRate="10s", annotations={RUN_NOW: "now"})
    await stage.mirror(asked)
    await stage.release()
    await stage.rescue()
    await stage.resume()
    await stage.mirror(Gone(uid, "default", "job"))
    assert [(row["state"], row["trigger"]) for row in stage.rows()] == [
        ("SUCCEEDED", "SCHEDULE"),
        ("CANCELLED", "MANUAL"),
    ]


async def test_days_are_made_and_dropped_as_the_runtime(roled: Roled) -> None:
    now = datetime.now(UTC)
    today = now.date()
    async with connect(roled.url("runtime"), "test") as conn:
        await ensure_days(conn, today - 9 * DAY, today)
        assert min(await list_partitions(conn)) == today - 9 * DAY
    kept = await prune_at(roled.url("runtime"), now)  # a retention of two days
    assert (min(kept), max(kept)) == (today - 2 * DAY, today + DAYS_AHEAD * DAY)
    gone = [partition_name(parent, today - 9 * DAY) for parent in PARENTS]
    assert roled.run("administrator", "SELECT relname FROM pg_class WHERE relname = ANY(%s)", gone) == []


async def test_the_functions_make_what_migrations_made_before(roled: Roled) -> None:
    async with connect(roled.url("runtime"), "test") as conn:
        await ensure_days(conn, date(2031, 1, 1), date(2031, 1, 1))
    query = """
    SELECT pg_get_expr(relpartbound, oid), reloptions, relowner::regrole::text
    FROM pg_class WHERE relname = 'job_execution_log_20310101'
    """
    assert roled.run("administrator", query) == [
        (
            "FOR VALUES FROM ('2031-01-01 00:00:00+00') TO ('2031-01-02 00:00:00+00')",
            ["fillfactor=50", "autovacuum_vacuum_scale_factor=0.05", "autovacuum_vacuum_insert_scale_factor=0.2"],
            f"{roled.prefix}_owner",
        )
    ]


@pytest.mark.parametrize(
    "call",
    [
        "make_day('job_definition', '2031-01-01')",
        "make_day('job_execution_log', '2099-01-01')",
        "make_day('job_execution_log; DROP TABLE leadership', '2031-01-01')",
        "drop_day('leadership', '2020-01-01')",
        "drop_day('job_execution_log', current_date)",
        "drop_day('job_execution_log', current_date + 1)",
    ],
)
def test_the_functions_of_the_owner_do_nothing_else(shared: Roled, call: str) -> None:
    with pytest.raises(errors.RaiseException):
        shared.run("runtime", f"SELECT {call}")


FUNCTIONS = {
    "make_day": "'job_execution_log', '2031-01-01'",
    "drop_day": "'job_execution_log', '2020-01-01'",
    "forget_jobs": "now(), 1",
}
"""Those of the owner, and how one is called."""


def test_the_functions_look_for_tables_nowhere_else(shared: Roled) -> None:
    found = shared.run("runtime", "SELECT proconfig FROM pg_proc WHERE proname = ANY(%s)", list(FUNCTIONS))
    assert all("search_path=public, pg_temp" in settings for (settings,) in found)
    assert len(found) == len(FUNCTIONS)


def test_nobody_else_may_call_the_functions_of_the_owner(shared: Roled) -> None:
    shared.make_reader("nosy", "finance")
    for name, called_with in FUNCTIONS.items():
        with pytest.raises(errors.InsufficientPrivilege):
            shared.run("nosy", f"SELECT {name}({called_with})")


async def test_the_runtime_forgets_deleted_jobs_of_which_nothing_is_kept_and_no_others(roled: Roled) -> None:
    stage, replica = Stage(roled.url("runtime")), uuid4()
    uids = {name: uuid4() for name in ("old", "lately", "ran", "living")}
    await stage.mirror(*(resource(name, uid=uid, fixedRate="1h") for name, uid in uids.items()))
    stage.tick(hours=1, seconds=1)
    await stage.fire()
    await stage.claim(replica)
    await stage.mirror(*(Gone(uid, "default", name) for name, uid in uids.items() if name != "living"))
    roled.run("administrator", "DELETE FROM job_execution_log WHERE job_name IN ('old', 'lately')")
    long_ago = "UPDATE job_definition SET deleted_at = now() - interval '9 days' WHERE name IN ('old', 'ran')"
    roled.run("runtime", long_ago)
    await prune_at(roled.url("runtime"), datetime.now(UTC))  # a retention of two days
    left = roled.run("runtime", "SELECT name FROM job_definition ORDER BY name")
    assert left == [("lately",), ("living",), ("ran",)]
    assert roled.run("runtime", "SELECT forget_jobs(now() + interval '1 day', 10)") == [(1,)]
    assert roled.run("runtime", "SELECT name FROM job_definition ORDER BY name") == [("living",), ("ran",)]


async def _old_day(roled: Roled, state: str) -> date:
    old = datetime.now(UTC) - 9 * DAY
    async with connect(roled.url("runtime"), "test") as conn:
        await ensure_days(conn, old.date(), old.date())
        await conn.execute(INSERT.encode(), {"moment": old, "state": state})
    return old.date()


async def test_a_day_with_live_rows_is_not_dropped_by_whoever_asks(roled: Roled) -> None:
    old = await _old_day(roled, "RUNNING")
    assert roled.run("runtime", "SELECT drop_day('job_execution_log', %s)", old) == [(False,)]
    assert old in await prune_at(roled.url("runtime"), datetime.now(UTC))
    roled.run("runtime", "UPDATE job_execution_log SET state = 'SUCCEEDED'")
    assert old not in await prune_at(roled.url("runtime"), datetime.now(UTC))


async def test_a_day_that_somebody_reads_is_dropped_later_and_nobody_waits_long(roled: Roled) -> None:
    old = await _old_day(roled, "SUCCEEDED")
    async with connect(roled.url("runtime"), "reads") as reader, connect(roled.url("runtime"), "claims") as claimer:
        await reader.execute("BEGIN")
        await reader.execute("SELECT FROM job_execution_log")
        pruning, longest = asyncio.create_task(prune_at(roled.url("runtime"), datetime.now(UTC))), 0.0
        while not pruning.done():
            started = time.monotonic()
            await claim_executions(claimer, uuid4(), ["log"], 1)
            longest = max(longest, time.monotonic() - started)
        assert old in await pruning
        await reader.execute("COMMIT")
    assert longest < 1.0  # 50 ms, on a machine that does nothing else
    assert old not in await prune_at(roled.url("runtime"), datetime.now(UTC))


async def test_a_detach_that_the_owner_left_unfinished_is_ended_by_the_runtime(roled: Roled) -> None:
    old = await _old_day(roled, "SUCCEEDED")
    name = partition_name(PARENTS[0], old)
    detach = f"ALTER TABLE job_execution_log DETACH PARTITION {name} CONCURRENTLY"
    with (
        psycopg.connect(roled.url("administrator"), options="-c lock_timeout=200ms", autocommit=True) as owner,
        psycopg.connect(roled.url("administrator"), autocommit=True) as reader,
        reader.transaction(),
    ):
        reader.execute("SELECT FROM job_execution_log LIMIT 1")
        with pytest.raises(errors.LockNotAvailable):
            owner.execute(detach.encode())
    async with connect(roled.url("runtime"), "test") as conn:
        assert (await list_partitions(conn))[old] is True
    assert old not in await prune_at(roled.url("runtime"), datetime.now(UTC))


async def test_a_day_that_the_owner_detached_and_did_not_drop_is_dropped_by_the_runtime(roled: Roled) -> None:
    old = await _old_day(roled, "SUCCEEDED")
    name = partition_name(PARENTS[0], old)
    roled.run("administrator", f"ALTER TABLE job_execution_log DETACH PARTITION {name} CONCURRENTLY")
    await prune_at(roled.url("runtime"), datetime.now(UTC))
    assert roled.run("administrator", "SELECT to_regclass(%s)::text", name) == [(None,)]


async def test_a_take_over_ends_the_session_of_a_frozen_leader_as_the_runtime(roled: Roled) -> None:
    url = roled.url("runtime")
    async with connect(url, "scheduledjobs leader term=0") as frozen:
        await frozen.execute("BEGIN")
        await frozen.execute("SELECT FROM leadership FOR SHARE")
        async with take_over(url, "b", 0) as leader:
            assert leader is not None
            assert leader.term == 1
        with pytest.raises(StoreError):
            async with connect(url, "test"):
                await frozen.execute("SELECT 1")


async def test_the_runtime_listens_notifies_and_locks(roled: Roled) -> None:
    async with connect(roled.url("runtime"), "test") as conn:
        await conn.execute(f"LISTEN {WORK}".encode())
        await execute(conn, "notify", channel=WORK, payload="")
        async with conn.transaction():
            await lock_leadership(conn)


PLANNED = ["advance_jobs", "insert_executions", "claim_executions", "claim_fairly", "complete_executions"]


@pytest.mark.parametrize("name", PLANNED)
def test_fire_claim_and_completion_are_planned_for_the_runtime_as_for_the_owner(shared: Roled, name: str) -> None:
    needs_generic_plans(shared)
    query = PostgresQuery(Transformer())
    query.convert(sql(name), _AnyParameters())
    plans = []
    for kind in ("migrator", "runtime"):
        options = " ".join(f"-c {key}={value}" for key, value in POINT_READS.items())
        with psycopg.connect(shared.url(kind), autocommit=True, options=options) as conn:
            result = conn.pgconn.exec_(b"EXPLAIN (GENERIC_PLAN) " + query.query)
            plans.append([result.get_value(row, 0) for row in range(result.ntuples)])
    assert plans[0] == plans[1]
    assert len(plans[0]) > 1


def test_no_table_has_policies_so_no_plan_of_the_operator_has_them(shared: Roled) -> None:
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relrowsecurity"
    assert shared.run("administrator", query) == []


FILL = """
INSERT INTO job_definition (
    id, namespace, name, version, resource_version, spec, state, reason, effective_from, created_at, updated_at
) VALUES (%(job)s, %(namespace)s, 'job', 1, 1, '{}', 'ACTIVE', 'Scheduled', now(), now(), now());
"""
ROWS = [
    """INSERT INTO job_definition_version (job_id, version, recorded_at, spec, effective_from, suspended)
    VALUES (%(job)s, 1, now(), '{}', now(), false)""",
    """INSERT INTO job_execution_log
    (id, fire_time, namespace, job_name, state, message, trigger, handler, job_id, version)
    VALUES (%(id)s, %(at)s, %(namespace)s, 'job', 'FAILED', %(message)s, 'SCHEDULE', 'log', %(job)s, 1)""",
    "INSERT INTO run_request VALUES (%(job)s, 'token', NULL, now(), %(id)s, now())",
    "INSERT INTO job_execution_attempt (fire_time, execution_id, attempt, state) VALUES (%(at)s, %(id)s, 1, 'FAILED')",
    "INSERT INTO job_execution_output (fire_time, execution_id, attempt, output) VALUES (%(at)s, %(id)s, 1, 'said')",
]
VIEWS = {
    "reader_job_definition": "namespace",
    "reader_job_execution_log": "namespace",
    "reader_job_definition_version": "job_id",
    "reader_run_request": "job_id",
    "reader_job_execution_attempt": "execution_id",
    "reader_job_execution_output": "execution_id",
}


@pytest.fixture
def read(roled: Roled) -> Roled:
    """Two namespaces with a row in every table, and readers of one of them, of both and of all."""
    with psycopg.connect(roled.url("runtime"), autocommit=True) as conn:
        for number, (namespace, message) in enumerate({"finance": "17", "sales": "sales-secret"}.items(), start=1):
            values = {"job": uuid4(), "namespace": namespace, "id": number, "message": message, "at": datetime.now(UTC)}
            for statement in (FILL, *ROWS):
                conn.execute(statement.encode(), values)
    roled.make_reader("finance", "finance")
    roled.make_reader("both", "finance", "sales")
    roled.make_reader("every", "*")
    return roled


@pytest.mark.parametrize("view", VIEWS)
def test_a_reader_sees_the_rows_of_its_namespaces_and_no_others(read: Roled, view: str) -> None:
    seen = {kind: read.run(kind, f"SELECT {VIEWS[view]} FROM {view}") for kind in ("finance", "both", "every")}
    assert [len(seen[kind]) for kind in ("finance", "both", "every")] == [1, 2, 2]
    assert set(seen["finance"]) < set(seen["both"])
    if VIEWS[view] == "namespace":
        assert seen["finance"] == [("finance",)]


def test_readers_see_every_column_of_every_table_with_a_namespace(shared: Roled) -> None:
    query = """
    SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
    """
    for view in VIEWS:
        table = view.removeprefix("reader_")
        columns = shared.run("administrator", query, table)
        message = f"a migration that adds to {table} makes {view} anew: CREATE OR REPLACE VIEW, as in 0004_roles.sql"
        assert shared.run("administrator", query, view) == columns, message


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM job_definition",
        "SELECT * FROM job_execution_log",
        "SELECT * FROM reader_namespace",
        "SELECT * FROM scheduler_instance",
        "SELECT * FROM leadership",
        "UPDATE reader_job_execution_log SET message = ''",
        "DELETE FROM reader_job_definition",
        "CREATE TABLE mine (a int)",
        "CREATE TEMPORARY TABLE mine (a int)",
        "CREATE FUNCTION leak(text) RETURNS bool LANGUAGE plpgsql COST 0.1 AS 'BEGIN RAISE NOTICE ''%'', $1; END'",
    ],
)
def test_a_reader_reads_its_views_and_nothing_else(read: Roled, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        read.run("finance", f"SET TRANSACTION READ WRITE; {statement}")


def test_a_reader_does_not_read_a_day_by_its_own_name(read: Roled) -> None:
    day = partition_name(PARENTS[0], datetime.now(UTC).date())
    with pytest.raises(errors.InsufficientPrivilege):
        read.run("every", f"SELECT * FROM {day}")


def test_no_error_of_a_readers_condition_tells_of_rows_of_others(read: Roled) -> None:
    query = "SELECT namespace FROM reader_job_execution_log WHERE message::integer = 17"
    assert read.run("finance", query) == [("finance",)]
    with pytest.raises(errors.InvalidTextRepresentation, match="sales-secret"):
        read.run("both", query)


def test_a_reader_made_again_has_the_new_namespaces_alone(read: Roled) -> None:
    read.make_reader("finance", "sales")
    assert read.run("finance", "SELECT namespace FROM reader_job_definition") == [("sales",)]


def test_the_roles_are_made_twice_and_nothing_changes(roled: Roled) -> None:
    roled.make_roles()
    assert roled.run("runtime", "SELECT count(*) FROM job_definition") == [(0,)]


async def test_an_installation_of_one_user_is_given_the_roles(postgres_server: Postgres) -> None:
    made = empty(postgres_server)
    made.run("administrator", f"CREATE ROLE {made.prefix}_single LOGIN PASSWORD 'secret'")
    made.run("administrator", f"GRANT CREATE ON SCHEMA public TO {made.prefix}_single")
    await migrate(made.url("single"))
    stage = Stage(made.url("single"))
    await stage.mirror(resource(fixedRate="10s"))
    made.run("administrator", f"CREATE TABLE theirs (a int); ALTER TABLE theirs OWNER TO {made.prefix}_single")
    made.make_roles()
    stage.tick(seconds=11)
    await stage.fire()  # pods that are there go on as the user they know
    assert await migrate(made.url("migrator"), runtime=f"{made.prefix}_runtime") == []
    stage.url = made.url("runtime")
    stage.tick(seconds=10)
    await stage.fire()
    assert [row["state"] for row in stage.rows()] == ["PENDING", "SKIPPED"]
    made.run("administrator", f"REVOKE {made.prefix}_owner FROM {made.prefix}_single")
    with pytest.raises(errors.InsufficientPrivilege):
        made.run("single", "SELECT * FROM job_definition")
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relowner <> %s::regrole"
    assert made.run("administrator", query, f"{made.prefix}_owner") == [("theirs",)]


def test_an_administrator_who_is_no_superuser_makes_the_roles(postgres_server: Postgres) -> None:
    made = empty(postgres_server)
    admin = f"{made.prefix}_admin"
    made.run("administrator", f"CREATE ROLE {admin} LOGIN CREATEROLE PASSWORD 'secret'")
    made.run("administrator", f"ALTER DATABASE {made.name} OWNER TO {admin}; ALTER SCHEMA public OWNER TO {admin}")
    made.run("admin", roles_sql(made.prefix))
    for kind in ("migrator", "runtime"):
        made.run("admin", f"ALTER ROLE {made.prefix}_{kind} PASSWORD 'secret'")
    asyncio.run(migrate(made.url("migrator"), runtime=f"{made.prefix}_runtime"))
    made.run("admin", reader_sql(f"{made.prefix}_team", ["finance"]))
    assert made.run("runtime", "SELECT count(*) FROM job_definition") == [(0,)]
