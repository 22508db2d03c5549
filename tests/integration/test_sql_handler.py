"""The sql handler against a real database: bound values, allowed namespaces, effect and completion as one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from dev.postgres import Postgres
from tests.faults.proxy import Network, Way
from tests.integration.conftest import REGISTRY, Stage, resource
from tests.unit.test_runner import Bench

from scheduledjobs.core.reasons import Reason, State, Trigger
from scheduledjobs.errors import CredentialError, SettingsError, SpecError
from scheduledjobs.handlers import Execution
from scheduledjobs.handlers.execution import Output, captured
from scheduledjobs.handlers.sql import SqlPayload, allow_connections, sql
from scheduledjobs.store.effects import StaleAttempt, StatementRefused
from scheduledjobs.store.executions import cancel_execution, find_ended_claims
from scheduledjobs.store.returned import RowTooLarge
from scheduledjobs.store.sessions import connect, password_of


@pytest.fixture(autouse=True)
def own(database: str) -> Iterator[str]:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("CREATE TABLE effect (key text, value text)")
    allow_connections(
        database,
        {
            "own": {"namespaces": ["default"]},
            "other": {"url": database, "namespaces": ["finance", "*"]},
            "ruled": {"namespaces": ["default"], "role": "reports"},
        },
    )
    yield database
    allow_connections("", {})


def execution(claimed: dict[str, Any], replica: UUID) -> Execution:
    names = ("fire_time", "attempt", "run_key", "missed_count", "first_missed_at", "id", "claim_no")
    known = {name: claimed[name] for name in names}
    return Execution(
        "default", "job", claimed["job_id"], trigger=Trigger.SCHEDULE, deadline=None, replica=replica, **known
    )


async def claimed(stage: Stage, replica: UUID) -> dict[str, Any]:
    await stage.mirror(resource(fixedRate="1s"))
    stage.tick(seconds=1.1)
    await stage.fire()
    (found,) = await stage.claim(replica)
    return found


INSERT = "INSERT INTO effect VALUES (%(idempotency_key)s, %(value)s)"


async def test_effect_and_completion_commit_together(stage: Stage) -> None:
    replica = await stage.replica()
    found = await claimed(stage, replica)
    payload = SqlPayload(connection="own", statement=INSERT, parameters={"value": "x"})
    assert await sql(execution(found, replica), payload) == {"rows": 1}
    (row,) = stage.rows()
    assert (row["state"], row["reason"], row["result"]) == ("SUCCEEDED", "Success", {"rows": 1})
    assert await stage.complete(replica, found) == {}  # what the replica writes later changes nothing
    async with connect(stage.url, "test") as conn:
        assert await find_ended_claims(conn, replica, [found]) == {found["id"]}  # and counts as done


async def test_a_stale_attempt_rolls_back_its_effect(stage: Stage) -> None:
    replica = await stage.replica()
    found = await claimed(stage, replica)
    stale = {**found, "claim_no": found["claim_no"] + 1}
    with pytest.raises(StaleAttempt):
        await sql(execution(stale, replica), SqlPayload(connection="own", statement="DELETE FROM effect"))
    payload = SqlPayload(connection="own", statement=INSERT, parameters={"value": "x"})
    with pytest.raises(StaleAttempt):
        await sql(execution(found, uuid4()), payload)
    assert stage.rows("SELECT * FROM effect") == []
    assert stage.rows()[0]["state"] == "RUNNING"


async def test_parameters_are_bound_never_written_into_the_statement(stage: Stage) -> None:
    replica = await stage.replica()
    nasty = "'); DROP TABLE effect; -- 100%"
    payload = SqlPayload(connection="other", statement=INSERT, parameters={"value": nasty})
    found = await claimed(stage, replica)
    await sql(execution(found, replica), payload)
    assert [row["value"] for row in stage.rows("SELECT * FROM effect")] == [nasty]
    assert stage.rows()[0]["state"] == "RUNNING"  # another database: the completion is the replica's


async def test_rows_that_a_statement_returns_are_its_result(stage: Stage) -> None:
    replica = await stage.replica()
    found = await claimed(stage, replica)
    payload = SqlPayload(connection="other", statement="SELECT %(a)s::jsonb AS a, 1 AS b", parameters={"a": {"x": [1]}})
    assert await sql(execution(found, replica), payload) == {"rows": 1, "returned": [{"a": {"x": [1]}, "b": 1}]}


@pytest.mark.parametrize(
    "statement",
    [
        "SELEC 1",
        "SELECT 1/0",
        "SELECT 1; DROP TABLE effect",
        "SELECT %(nothing)s",
        "COPY effect TO STDOUT",
        "COPY effect FROM STDIN",
    ],
)
async def test_a_statement_that_cannot_work_is_not_tried_again(stage: Stage, statement: str) -> None:
    replica = await stage.replica()
    found = await claimed(stage, replica)
    with pytest.raises(StatementRefused):
        await sql(execution(found, replica), SqlPayload(connection="other", statement=statement))


@pytest.mark.parametrize(
    ("namespace", "payload", "sentence"),
    [
        ("default", {"connection": "mine", "statement": "SELECT 1"}, "allowed are other, own, ruled"),
        ("finance", {"connection": "own", "statement": "SELECT 1"}, "allowed are other$"),
        ("default", {"connection": "own", "statement": "SELECT %(a)s"}, "names a, which spec.payload.parameters"),
        ("default", {"connection": "own", "statement": " -- so\n/* it */ Commit"}, "must not be COMMIT: it is one"),
        ("default", {"connection": "ruled", "statement": "DO $$ BEGIN RESET ROLE; END $$"}, "must begin with one of"),
        ("default", {"connection": "own", "statement": "SELECT 1", "parameters": {"job": 1}}, "choose another name"),
    ],
)
def test_what_a_namespace_may_not_do_is_refused_at_its_spec(
    namespace: str, payload: dict[str, Any], sentence: str
) -> None:
    handler = REGISTRY.get("sql")
    assert handler is not None
    with pytest.raises(SpecError, match=sentence) as raised:
        handler.check_payload(payload, namespace)
    assert raised.value.reason is Reason.INVALID_PAYLOAD


@pytest.mark.parametrize(
    ("connection", "field"),
    [
        ({"url": "postgresql://u:secret@h/d"}, "namespaces"),
        ({"url": "postgresql://u:se%zzcret@h/d", "namespaces": ["*"]}, "url"),
        ({"url": "postgres//u:secret@h/d", "namespaces": ["*"]}, "url"),
        ({"url": "postgresql://u:secret@[h/d", "namespaces": ["*"]}, "url"),
        ({"url": "host=h password=secret", "namespaces": ["*"]}, "url"),
    ],
)
def test_a_wrong_connection_is_named_and_its_secret_is_not(connection: dict[str, Any], field: str) -> None:
    with pytest.raises(SettingsError, match=rf"SCHEDULEDJOBS_SQL_CONNECTIONS: x.{field}") as raised:
        allow_connections("", {"x": connection})
    assert "cret" not in str(raised.value)


async def test_a_role_keeps_a_statement_from_what_it_may_not_touch(stage: Stage) -> None:
    role = f"reports_{uuid4().hex[:8]}"
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {role}; GRANT INSERT ON effect TO {role}".encode())
    try:
        allow_connections(stage.url, {"own": {"namespaces": ["default"], "role": role}})
        replica = await stage.replica()
        found = await claimed(stage, replica)
        with pytest.raises(StatementRefused, match="permission denied for table job_execution_log"):
            await sql(
                execution(found, replica), SqlPayload(connection="own", statement="DELETE FROM job_execution_log")
            )
        payload = SqlPayload(connection="own", statement=INSERT, parameters={"value": "x"})
        assert await sql(execution(found, replica), payload) == {"rows": 1}
        assert stage.rows()[0]["state"] == "SUCCEEDED"  # the completion is the operator's, not the role's
    finally:
        with psycopg.connect(stage.url, autocommit=True) as conn:
            conn.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def peak_mib() -> float:
    """The most memory that this process has held since `forget_peak`."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


MANY = "SELECT %(value)s, repeat('x', 1000) FROM generate_series(1, 200000)"


@pytest.mark.parametrize(
    "statement",
    [
        f"/* all */ {MANY} AS n",
        f"INSERT INTO effect {MANY} RETURNING *",
        f"WITH new AS (INSERT INTO effect {MANY} RETURNING *) SELECT * FROM new",
    ],
)
async def test_a_result_is_bounded_however_much_a_statement_returns(stage: Stage, statement: str) -> None:
    replica = await stage.replica()
    found = await claimed(stage, replica)
    forget_peak()
    before = peak_mib()
    payload = SqlPayload(connection="own", statement=statement, parameters={"value": "x"})
    answer = await sql(execution(found, replica), payload)
    assert peak_mib() - before < 50  # of 200 MB
    assert answer["rows"] == 200_000
    assert 0 < len(answer["returned"]) <= 100
    (row,) = stage.rows("SELECT state, length(result::text) AS size, result FROM job_execution_log")
    assert row["state"] == "SUCCEEDED"
    assert row["size"] < 17_000
    assert row["result"]["truncated"] is True


@pytest.mark.parametrize(
    "statement",
    ["SELECT repeat('x', 300000000)", "INSERT INTO effect SELECT 'a', repeat('x', 300000000) RETURNING value"],
)
async def test_a_row_that_is_too_large_fails_its_attempt_before_it_is_held(
    stage: Stage, postgres_server: Postgres, statement: str
) -> None:
    replica = await stage.replica()
    found = await claimed(stage, replica)
    with Network() as network:
        way = Way(network, postgres_server.port)
        way.bytes_per_second = 200e6  # a network: on loopback the server may bring a row faster than it is counted
        url = stage.url.replace(f":{postgres_server.port}/", f":{way.port}/")
        allow_connections(url, {"own": {"namespaces": ["default"]}})
        forget_peak()
        before = peak_mib()
        with pytest.raises(RowTooLarge, match="returns a row of more than 4 MiB"):
            await sql(execution(found, replica), SqlPayload(connection="own", statement=statement))
        assert peak_mib() - before < 100  # of 300 MB
        way.close()
    assert stage.rows("SELECT * FROM effect") == []
    assert stage.rows()[0]["state"] == "RUNNING"


async def test_a_row_that_comes_too_fast_to_be_counted_fails_its_attempt_too(stage: Stage) -> None:
    replica = await stage.replica()
    found = await claimed(stage, replica)
    statement = "INSERT INTO effect SELECT 'a', repeat('x', 5000000) RETURNING value"
    with pytest.raises(RowTooLarge, match="returns a row of more than 4 MiB"):
        await sql(execution(found, replica), SqlPayload(connection="own", statement=statement))
    assert stage.rows("SELECT * FROM effect") == []


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("INSERT INTO effect SELECT 'a', 'RETURNING' FROM generate_series(1, 3)", {"rows": 3}),
        ("DELETE FROM effect RETURNING *", {"rows": 0, "returned": []}),
        ("UPDATE effect SET value = 'a' WHERE false", {"rows": 0}),
        ("SHOW server_encoding", {"rows": 1, "returned": [{"server_encoding": "UTF8"}]}),
        ("DO $$ BEGIN PERFORM 1; END $$", {"rows": -1}),
    ],
)
async def test_what_a_statement_comes_to_is_told_whatever_its_kind(
    stage: Stage, statement: str, expected: dict[str, Any]
) -> None:
    replica = await stage.replica()
    found = await claimed(stage, replica)
    assert await sql(execution(found, replica), SqlPayload(connection="other", statement=statement)) == expected


async def test_an_effect_that_was_to_be_stopped_is_cancelled_not_failed(stage: Stage) -> None:
    replica = await stage.replica()
    found = await claimed(stage, replica)
    async with connect(stage.url, "test", **stage.clock_setting) as conn:
        await cancel_execution(conn, found["id"], "somebody")
    with pytest.raises(StaleAttempt):
        await sql(execution(found, replica), SqlPayload(connection="own", statement=INSERT, parameters={"value": "x"}))
    await stage.complete(replica, found, "FAILED", retry_seconds=1.0)
    (row,) = stage.rows()
    assert (row["state"], row["reason"]) == ("CANCELLED", "CancelRequested")
    assert stage.rows("SELECT * FROM effect") == []


async def test_each_effect_is_there_once_whatever_dies_between(stage: Stage) -> None:
    """500 executions; attempts are lost at any point: before, while and after their effect commits."""
    random = Random(20261124)
    await stage.mirror(
        resource(
            "flood",
            fixedRate="1s",
            misfire={"policy": "FireAll", "limit": 500, "grace": "0s"},
            concurrencyPolicy="Allow",
            retry={"limit": 100, "backoff": "100ms", "maxBackoff": "100ms"},
        )
    )
    stage.tick(seconds=500.5)
    await stage.fire()
    payload = SqlPayload(connection="own", statement=INSERT, parameters={"value": "x"})
    for _ in range(100):
        replica = await stage.replica()
        batch = await stage.claim(replica, 64)
        if not batch:
            break
        tasks = [asyncio.create_task(sql(execution(found, replica), payload)) for found in batch]
        await asyncio.sleep(random.random() * 0.25)  # the random point at which the replica dies
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with psycopg.connect(stage.url, autocommit=True) as conn:
            conn.execute("UPDATE scheduler_instance SET dead_at = now() WHERE id = %s", [replica])
        await stage.rescue()
        stage.tick(seconds=1)
    states = stage.rows("SELECT state, count(*) AS n FROM job_execution_log WHERE moment_count IS NULL GROUP BY state")
    (counts,) = stage.rows("SELECT count(*) AS n, count(DISTINCT key) AS keys FROM effect")
    assert [(row["state"], row["n"]) for row in states] == [("SUCCEEDED", 500)]
    assert (counts["n"], counts["keys"]) == (500, 500)
    attempts = stage.rows("SELECT count(*) AS n FROM job_execution_attempt")
    assert attempts[0]["n"] > 0
    assert timedelta(0) < stage.offset


async def test_an_address_in_a_file_is_read_at_each_use(database: str, tmp_path: Path) -> None:
    """So a password that is rotated counts at once; what the file holds is never said."""
    file = tmp_path / "uri"
    allow_connections("", {"w": {"namespaces": ["*"], "url_file": str(file)}})
    payload = SqlPayload(connection="w", statement="SELECT 1 AS one")
    one = Execution("x", "j", uuid4(), datetime.now(UTC), 1, Trigger.SCHEDULE, "", None, None, None)
    with pytest.raises(CredentialError, match="connection 'w': its url_file is missing"):
        await sql(one, payload)
    file.write_text(f"{database}\n")
    assert await sql(one, payload) == {"rows": 1, "returned": [{"one": 1}]}
    for wrong in ("mysql://a:s3cret@b/c", "postgresql://a:s3cret%zz@b/c"):
        file.write_text(wrong)
        with pytest.raises(CredentialError, match="its url_file must look like postgresql://") as caught:
            await sql(one, payload)
        assert "s3cret" not in str(caught.value)


async def test_the_password_of_a_connection_is_hidden_in_what_its_attempt_leaves(database: str) -> None:
    password = password_of(database)
    assert password
    output = Output()
    token = captured.set(output)
    one = Execution("x", "j", uuid4(), datetime.now(UTC), 1, Trigger.SCHEDULE, "", None, None, None)
    await sql(one, SqlPayload(connection="other", statement="SELECT 1"))
    captured.reset(token)
    assert output.hidden.mask(f"x {password} y") == "x *** y"


async def test_a_timeout_that_came_while_a_statement_waited_says_that_it_had_not_begun(own: str) -> None:
    bench = Bench()
    for seconds in (60, 60, 60, 60, 0.1):
        asked = SqlPayload(connection="other", statement="SELECT pg_sleep(60)").model_dump()
        bench.begin(sql, model=SqlPayload, timeout=seconds, **asked)
    ending = await asyncio.wait_for(bench.endings.get(), 5)
    await bench.runner.close()
    assert ending.state is State.TIMED_OUT
    assert ending.message == (
        "the attempt took longer than its timeout of 0.1 s; its statement had not begun: 4 others ran on connection "
        "'other' on this replica"
    )


async def test_what_the_address_of_a_connection_says_of_its_session_counts(database: str) -> None:
    """And where it says nothing, what every session of ours is given."""
    query = "?connect_timeout=9&application_name=ledger&options=-csearch_path%3Dreports%20-c%20TimeZone%3DAsia/Tokyo"
    given = {"own": {"namespaces": ["*"]}, "plain": {"url": database, "namespaces": ["*"]}}
    allow_connections(database, {**given, "told": {"url": database + query, "namespaces": ["*"]}})
    one = Execution("x", "j", uuid4(), datetime.now(UTC), 1, Trigger.SCHEDULE, "", None, None, None)
    names = ("application_name", "search_path", "TimeZone", "default_transaction_isolation", "tcp_keepalives_idle")
    statement = "SELECT " + ", ".join(f"current_setting('{name}') AS {name}" for name in names)
    told = (await sql(one, SqlPayload(connection="told", statement=statement)))["returned"][0]
    assert list(told.values()) == ["ledger", "reports", "Asia/Tokyo", "read committed", "5"]
    plain = (await sql(one, SqlPayload(connection="plain", statement=statement)))["returned"][0]
    assert list(plain.values()) == ["scheduledjobs sql handler", '"$user", public', "UTC", "read committed", "5"]
