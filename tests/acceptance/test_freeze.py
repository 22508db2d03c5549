"""Two leaders by force: one is frozen past its lease, also in the middle of its transaction, and then wakes.

The frozen leader's process cannot know that time has passed. Whatever it does when it wakes, no row of its term may
come after the first row of the next one.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import psycopg
import pytest
from tests.acceptance.conftest import until

LEASE_SECONDS = 5.0
HOLD = """
CREATE OR REPLACE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('application_name') = 'scheduledjobs leader term=1'
        AND EXISTS (SELECT FROM pg_class WHERE relname = 'hold_now')
    THEN
        PERFORM pg_sleep(1.5);
    END IF;
    RETURN NEW;
END $$;
CREATE TABLE term_of (execution_id bigint, term text, at timestamptz DEFAULT clock_timestamp());
CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO term_of (execution_id, term) VALUES (NEW.id, current_setting('application_name'));
    RETURN NEW;
END $$;
CREATE TRIGGER hold BEFORE UPDATE ON job_definition FOR EACH ROW EXECUTE FUNCTION hold();
CREATE TRIGGER note BEFORE INSERT ON job_execution_log FOR EACH ROW EXECUTE FUNCTION note();
"""


def old_rows_after_new(replicas: Any) -> int:
    row = replicas.row(
        """
        SELECT count(*) AS n FROM term_of AS old
        WHERE old.term LIKE '%term=1' AND old.at > (SELECT min(at) FROM term_of WHERE term LIKE '%term=2')
            AND EXISTS (SELECT FROM job_execution_log AS e WHERE e.id = old.execution_id)
        """
    )
    return int(row["n"])


@pytest.mark.parametrize("in_transaction", [False, True], ids=["between transactions", "in its transaction"])
def test_a_frozen_leader_is_replaced_and_writes_nothing_when_it_wakes(
    replicas: Any,
    capsys: Any,
    in_transaction: bool,  # noqa: FBT001
) -> None:
    replicas.start("one")
    assert replicas.wait_leader() == "one"
    with psycopg.connect(replicas.url, autocommit=True) as conn:
        conn.execute(HOLD.encode())
    for number in range(5):
        replicas.apply(f"tick-{number}", fixedRate="1s", handler="log")
    until(lambda: len(replicas.rows("SELECT 1 FROM term_of")) > 10)
    replicas.start("two")
    until(lambda: len(replicas.rows("SELECT 1 FROM scheduler_instance WHERE dead_at IS NULL")) == 2)
    if in_transaction:
        _hold_next_fire(replicas)
    pid = replicas.processes["one"].pid
    os.kill(pid, signal.SIGSTOP)
    frozen_at = time.monotonic()
    replicas.wait_leader(other_than="one", seconds=LEASE_SECONDS + 3)
    took = time.monotonic() - frozen_at
    until(lambda: len(replicas.rows("SELECT 1 FROM term_of WHERE term LIKE '%term=2'")) > 5)
    os.kill(pid, signal.SIGCONT)
    count = len(replicas.rows("SELECT 1 FROM term_of"))
    until(lambda: len(replicas.rows("SELECT 1 FROM term_of")) > count + 10)
    with capsys.disabled():
        where = "in its transaction" if in_transaction else "between transactions"
        print(f"\nSIGSTOP {where}: next leader after {took:.2f} s")
        print(f"rows of the old term after it: {old_rows_after_new(replicas)}")
    assert took <= LEASE_SECONDS + 1
    assert old_rows_after_new(replicas) == 0
    doubled = replicas.row("SELECT count(*) - count(DISTINCT (job_id, fire_time)) AS n FROM job_execution_log")
    assert doubled["n"] == 0


def _hold_next_fire(replicas: Any) -> None:
    """From now on a fire of the first term sleeps in its transaction; wait until one does."""
    with psycopg.connect(replicas.url, autocommit=True) as conn:
        conn.execute(b"CREATE TABLE hold_now ()")
    asleep = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name LIKE '%term=1'"
    until(lambda: replicas.rows(asleep), every=0.01)
