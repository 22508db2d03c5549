"""Faults of PostgreSQL itself: killed, away, full, crowded, locked, deadlocked; answers lost after a COMMIT."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dev.postgres import SETTINGS, Postgres, new_folder, new_postgres
from tests.acceptance.conftest import job, until
from tests.faults.proxy import Trap
from tests.faults.stage import NAMES, Stage, figures, load
from tests.faults.test_links import ON_TIME_SECONDS, begin, buried, lost, under_way

from scheduledjobs.store.migrate import migrate

FULL_RATE = 20
"""Moments a second of the jobs fine-0 to fine-19."""


def full_rate(stage: Stage, since: datetime) -> float:
    """Return after how many seconds the first second began in which every moment of the load was decided on time."""
    query = (
        "SELECT fire_time, extract(epoch FROM at - fire_time)::float AS late FROM audit "
        "JOIN job_execution_log AS e ON e.id = execution_id "
        "WHERE job_name LIKE 'fine-%%' AND moment_count IS NULL AND fire_time >= %s ORDER BY fire_time"
    )

    def first() -> timedelta | None:
        run: list[datetime] = []
        for row in stage.rows(query, since):
            run = [*run, row["fire_time"]] if row["late"] <= ON_TIME_SECONDS else []
            if len(run) >= FULL_RATE and run[-1] - run[-FULL_RATE] < timedelta(seconds=1):
                return run[-FULL_RATE] - since
        return None

    return until(first, 60, 0.5).total_seconds()


def late(stage: Stage, since: datetime, but: str = "") -> float:
    """Return by how much the latest moment since then was decided late, without the jobs whose name begins so."""
    row = stage.row(
        "SELECT coalesce(max(extract(epoch FROM at - fire_time)), 0)::float AS late FROM audit "
        "JOIN job_execution_log AS e ON e.id = execution_id "
        "WHERE fire_time >= %s AND run_key = '' AND job_name NOT LIKE %s AND job_name NOT LIKE 'delay-%%'",
        since,
        f"{but}%" if but else "",
    )
    return round(float(row["late"]), 3)


def logged(stage: Stage, name: str, text: str) -> int:
    """Return how many lines of a replica's log have this text."""
    return (stage.folder / f"{name}.log").read_text().count(text)


@contextmanager
def stranger(stage: Stage, *statements: str) -> Iterator[psycopg.Connection[Any]]:
    """A session of somebody else, in a transaction in which it has run these statements."""
    with psycopg.connect(stage.url, application_name="stranger") as conn:
        for statement in statements:
            conn.execute(statement.encode())
        yield conn
        conn.rollback()


@contextmanager
def away(postgres: Postgres, number: signal.Signals) -> Iterator[None]:
    """PostgreSQL is gone inside the block, and answers after it."""
    postgres.stop(number)
    try:
        yield
    finally:
        postgres.start()


def test_postgres_is_killed_and_comes_back(stage: Stage) -> None:
    """A crash, with the recovery from its log."""
    begin(stage)
    with away(stage.postgres, signal.SIGQUIT):
        stage.run_for(5)
    back = stage.now()
    took = full_rate(stage, back)
    gap = stage.gap(stage.began)
    stage.judge(figures(gap=gap, full_rate_after=took, lost=lost(stage), declared_dead=buried(stage)))
    assert gap > 5
    assert took < 5
    assert lost(stage) == buried(stage) == 0


def test_postgres_is_away_for_a_minute_and_running_handlers_go_on(stage: Stage) -> None:
    """Nobody can rescue while nobody leads: what runs ends well, however long; endings are written when it is back."""
    stage.start_all(handlers="witness,witness_own")
    start = (datetime.now(UTC) + timedelta(seconds=5)).replace(microsecond=0)
    run_at = start.isoformat().replace("+00:00", "Z")
    long = [
        job(f"long-{who}-{kind}{n}", runAt=run_at, handler=f"witness{kind}-{who}", payload={"seconds": seconds})
        for who in NAMES
        for kind in ("", "-sync")
        for n, seconds in enumerate((40.0, 72.0, 75.0))
    ]
    stage.load([*load(start), *long])
    until(lambda: stage.count("job_name LIKE 'long-%%' AND state = 'RUNNING'") == len(long), 20)
    with away(stage.postgres, signal.SIGINT):
        stage.run_for(60)
    back = stage.now()
    took = full_rate(stage, back)
    until(lambda: stage.count("job_name LIKE 'long-%%' AND state = 'SUCCEEDED'") == len(long), 40)
    missed = stage.count("state = 'MISSED'")
    stage.judge(
        figures(
            running_over_it=len(long),
            full_rate_after=took,
            missed_rows=missed,
            lost=lost(stage),
            declared_dead=buried(stage),
        )
    )
    assert took < 10
    assert lost(stage) == buried(stage) == 0
    assert stage.count("job_name LIKE 'long-%%' AND attempt = 1 AND state = 'SUCCEEDED'") == len(long)


def spring(stage: Stage, traps: Callable[[], Trap], names: list[str], times: int = 1) -> int:
    """Set traps on the ways of these replicas, one after the other, until each has sprung so often."""
    sprung = 0
    for _ in range(times):
        for name in names:
            trap = traps()
            stage.db[name].traps.append(trap)
            assert trap.sprung.wait(20), f"nothing sprang on the way of {name}"
            sprung += 1
    return sprung


def test_the_answer_to_a_claim_is_lost(stage: Stage) -> None:
    """The rows are this replica's and it does not know of them: handed back unstarted, and run within seconds.

    Of jobs that one replica alone can run, and that need a second attempt: so each of them claims, the one that leads
    and could claim on insert, too.
    """
    stage.start_all(handlers="witness,witness_own")
    start = (datetime.now(UTC) + timedelta(seconds=5)).replace(microsecond=0)
    own = [
        job(
            f"own-{who}",
            handler=f"witness-{who}",
            payload={"fail": 1},
            retry={"limit": 1, "backoff": "1s"},
            fixedRate="2s",
            startTime=start.isoformat().replace("+00:00", "Z"),
            concurrencyPolicy="Allow",
        )
        for who in NAMES
    ]
    stage.load([*load(start), *own])
    under_way(stage)
    claimed = lambda: Trap("answer", b"own-", b"scheduledjobs claim")  # noqa: E731
    sprung = spring(stage, claimed, list(NAMES), times=3)
    stage.run_for(3)
    stage.judge(figures(claims_cut=sprung, handed_back=handed_back(stage), latest_start=latest_start(stage)))
    assert handed_back(stage) >= 1
    assert latest_start(stage) < 12
    assert lost(stage) == 0


def handed_back(stage: Stage) -> int:
    return int(sum(stage.metric(name, 'scheduledjobs_repairs_total{repair="handed_back"}') for name in NAMES))


def latest_start(stage: Stage) -> float:
    of = "job_name LIKE 'fine-%%' OR job_name LIKE 'own-%%'"
    row = stage.row(f"SELECT max(lateness_ms) / 1000.0 AS seconds FROM job_execution_log WHERE {of}")
    return round(float(row["seconds"]), 2)


def test_the_answer_to_a_completion_is_lost(stage: Stage) -> None:
    """It is written again, finds itself written, and counts once."""
    begin(stage)
    completed = lambda: Trap("answer", b"SUCCEEDED", b"scheduledjobs work")  # noqa: E731
    sprung = spring(stage, completed, list(NAMES), times=5)
    stage.run_for(3)
    stale = sum(stage.metric(name, "scheduledjobs_stale_completions_total") for name in NAMES)
    stage.judge(figures(completions_cut=sprung, stale=stale))
    assert stale == 0
    assert lost(stage) == 0


def test_the_answer_to_the_commit_of_a_fire_is_lost(stage: Stage) -> None:
    """The rows stand, and the leader learns it by loading the jobs again."""
    begin(stage)
    since = stage.now()
    leader = str(stage.leader())
    commits = lambda: Trap("sent", b"COMMIT", b"scheduledjobs leader", answered=True)  # noqa: E731
    sprung = 0
    while (failed := logged(stage, leader, '"step": "fire"')) < 8 and sprung < 200:  # others commit on these, too
        sprung += spring(stage, commits, [leader])
        stage.run_for(0.2)
    stage.run_for(3)
    gap = stage.gap(since)
    stage.judge(figures(commits_cut=sprung, fires_among_them=failed, gap=gap))
    assert failed >= 8
    assert gap < 2
    assert stage.leader() == leader


def test_backends_are_terminated_at_random(stage: Stage) -> None:
    """Five a second for a minute, of any session of the operator."""
    begin(stage)
    since = stage.now()
    ended: dict[str, int] = {}
    deadline = time.monotonic() + 60
    with psycopg.connect(stage.url, autocommit=True) as conn:
        while time.monotonic() < deadline:
            found = conn.execute(
                "SELECT pid, split_part(application_name, ' ', 2) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name LIKE 'scheduledjobs %'"
            ).fetchall()
            pid, kind = stage.random.choice(sorted(found))
            conn.execute("SELECT pg_terminate_backend(%s)", [pid])
            ended[kind] = ended.get(kind, 0) + 1
            stage.run_for(0.2)
    gap = stage.gap(since)
    stage.judge(figures(gap=gap, terminated=ended, lost=lost(stage), declared_dead=buried(stage)))
    assert sum(ended.values()) > 200
    assert {"leader", "seat", "control", "claim", "work", "listen"} <= ended.keys()
    assert gap < 3
    assert lost(stage) == buried(stage) == 0


def test_connections_are_taken_by_others(stage: Stage) -> None:
    """None is left for 15 s, and the replicas' own are ended: they wait, and what runs goes on."""
    begin(stage)
    since = stage.now()
    taken: list[psycopg.Connection[Any]] = []
    refused = 0
    with psycopg.connect(stage.url, autocommit=True) as conn:

        def take() -> None:
            nonlocal refused
            try:
                while True:
                    taken.append(psycopg.connect(stage.postgres.url, connect_timeout=2))
            except psycopg.OperationalError:
                refused += 1

        take()
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name LIKE 'scheduledjobs %'"
            )
            take()
            time.sleep(0.1)
        for each in taken:
            each.close()
    back = stage.now()
    took = full_rate(stage, back)
    gap = stage.gap(since)
    stage.judge(figures(taken=len(taken), gap=gap, full_rate_after=took, lost=lost(stage), declared_dead=buried(stage)))
    assert refused > 50
    assert gap > 5
    assert took < 10


@contextmanager
def own_server(stage: Stage, folder: Path, **settings: str) -> Iterator[Postgres]:
    """A PostgreSQL of the scenario's own, which the stage's replicas then use."""
    kept = dict(SETTINGS)
    SETTINGS.update(settings)
    server = new_postgres(folder)
    try:
        server.start()
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute("CREATE DATABASE own")
        stage.postgres, stage.url = server, server.url.rsplit("/", 1)[0] + "/own"
        asyncio.run(migrate(stage.url))
        stage.audit()
        yield server
    finally:
        stage.stop()
        server.stop()
        SETTINGS.clear()
        SETTINGS.update(kept)


@contextmanager
def open_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder that the user who runs PostgreSQL can reach."""
    folder = new_folder(prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A tmpfs of this size; skips the scenario where it cannot be mounted."""
    folder.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a small disk is a tmpfs, which only root may mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def fill(folder: Path) -> Path:
    """Fill the disk to its last byte."""
    file = folder / "filler"
    with file.open("wb", buffering=0) as handle, contextlib.suppress(OSError):
        while True:
            handle.write(b"\0" * 65_536)
    with file.open("ab", buffering=0) as handle, contextlib.suppress(OSError):
        while True:
            handle.write(b"\0" * 512)
    return file


def test_the_disk_is_full_and_then_freed(stage: Stage) -> None:
    """Nothing can be written for 20 s; a server that gave up is started again once there is room."""
    with (
        open_folder("scheduledjobs-disk-") as base,
        small_disk(base / "disk", "300m") as disk,
        own_server(stage, disk / "server", max_wal_size="64MB") as server,
    ):
        begin(stage)
        since = stage.now()
        filler = fill(disk)
        alive = True
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            alive = alive and is_alive(server)
            if not alive:
                break
            flood(stage)
            stage.run_for(0.5)
        refused = sum(logged(stage, name, "No space left on device") for name in NAMES)
        filler.unlink()
        if not is_alive(server):
            server.stop()
            server.start()
        back = until(lambda: answer(stage), 30)
        took = full_rate(stage, back)
        gap = stage.gap(since)
        stage.judge(
            figures(
                refused=refused,
                server="lived" if alive else "gave up",
                gap=gap,
                full_rate_after=took,
                lost=lost(stage),
                declared_dead=buried(stage),
            )
        )
        assert refused > 0
        assert gap > 2
        assert took < 10


def answer(stage: Stage) -> datetime | None:
    with contextlib.suppress(psycopg.Error):
        return stage.now()
    return None


def flood(stage: Stage) -> None:
    """Others write too, until they are refused: so the last free pages and WAL segments are used up."""
    with contextlib.suppress(psycopg.Error), psycopg.connect(stage.url, autocommit=True, connect_timeout=2) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS flood (x text)")
        conn.execute("INSERT INTO flood SELECT repeat(md5(n::text), 50) FROM generate_series(1, 20000) AS n")


def is_alive(server: Postgres) -> bool:
    try:
        psycopg.connect(server.url, connect_timeout=2).close()
    except psycopg.OperationalError as error:
        return "starting up" in str(error) or "recovery" in str(error)
    return True


def test_the_log_is_locked_for_10_seconds(stage: Stage) -> None:
    """ACCESS EXCLUSIVE: nothing can be read or written; heartbeats go on."""
    begin(stage)
    since = stage.now()
    with stranger(stage, "LOCK TABLE job_execution_log IN ACCESS EXCLUSIVE MODE"):
        stage.run_for(10)
    back = stage.now()
    took = full_rate(stage, back)
    gap = stage.gap(since)
    stage.judge(figures(gap=gap, full_rate_after=took, lost=lost(stage), declared_dead=buried(stage)))
    assert 9 < gap < 12
    assert took < 3
    assert lost(stage) == buried(stage) == 0


REVERSE = """
SELECT id FROM job_definition WHERE name LIKE 'fine-%' OR name LIKE 'delay-%' OR name LIKE 'queue-%'
ORDER BY id DESC
"""


def test_strangers_lock_jobs_in_the_reverse_order(stage: Stage) -> None:
    """Three of them for 15 s, one job after the other, against the operator's order, with edits mirrored meanwhile."""
    begin(stage)
    since, leader = stage.now(), stage.leader()
    stop, counts = threading.Event(), {"rounds": 0, "victims": 0}

    def lock() -> None:
        with psycopg.connect(stage.url, application_name="stranger") as conn:
            ids = [row[0] for row in conn.execute(REVERSE.encode()).fetchall()]
            while not stop.is_set():
                try:
                    for each in ids:
                        conn.execute("SELECT 1 FROM job_definition WHERE id = %s FOR UPDATE", [each])
                        time.sleep(0.005)
                    counts["rounds"] += 1
                except psycopg.errors.DeadlockDetected:
                    counts["victims"] += 1
                conn.rollback()
                time.sleep(0.05)

    threads = [threading.Thread(target=lock) for _ in range(3)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 15
    edits = 0
    while time.monotonic() < end:
        edit(stage, [f"fine-{n}" for n in stage.random.sample(range(20), 6)], edits)
        edits += 1
    stop.set()
    for thread in threads:
        thread.join()
    deadlocks = stage.row("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")["deadlocks"]
    gap, latest = stage.gap(since), late(stage, since)
    stage.judge(
        figures(gap=gap, latest_decision=latest, deadlocks=deadlocks, lock_rounds=counts["rounds"], edits=edits)
    )
    assert counts["rounds"] > 10
    assert stage.leader() == leader
    assert gap < 3
    assert lost(stage) == buried(stage) == 0


def edit(stage: Stage, names: list[str], number: int) -> None:
    """Change the payloads of jobs, so that the mirror locks them together."""
    patch = f'{{"spec": {{"payload": {{"seconds": 0.0{number % 9 + 1}}}}}}}'
    stage.cluster.kubectl("patch", "scheduledjobs", *names, "-n", stage.namespace, "--type=merge", "-p", patch)


def test_the_database_defaults_to_repeatable_read(stage: Stage) -> None:
    """Somebody set it for the whole database, and the operator's sessions are made anew: they ask for their own."""
    begin(stage)
    since = stage.now()
    with psycopg.connect(stage.url, autocommit=True) as conn:
        name = conn.info.dbname
        conn.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'".encode())
        ended = conn.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE 'scheduledjobs %'"
        ).fetchone()
    assert stage.row("SELECT current_setting('transaction_isolation') AS level")["level"] == "repeatable read"
    stage.run_for(8)
    gap = stage.gap(since)
    failures = sum(logged(stage, each, "could not serialize") for each in NAMES)
    stage.judge(figures(terminated=ended, gap=gap, serialization_failures=failures))
    assert failures == 0
    assert gap < 3


def test_notifications_are_lost(stage: Stage) -> None:
    """The listening connections fall silent again and again: starts elsewhere are late by the poll interval at most."""
    stage.start_all(handlers="witness,witness_own")
    leader = str(stage.leader())
    other = next(name for name in NAMES if name != leader)
    start = (datetime.now(UTC) + timedelta(seconds=4)).replace(microsecond=0)
    mine = [
        job(
            f"elsewhere-{n}",
            fixedRate="1s",
            handler=f"witness-{other}",
            startTime=(start + timedelta(milliseconds=100 * n)).isoformat().replace("+00:00", "Z"),
        )
        for n in range(10)
    ]
    stage.load([*load(start), *mine])
    until(lambda: stage.count("job_name LIKE 'elsewhere-%%' AND state = 'SUCCEEDED'") >= 30, 30)
    heard = start_latency(stage, stage.began)
    since = stage.now()
    silenced = 0
    for _ in range(12):
        silenced += sum(stage.db[name].vanish(b"scheduledjobs listen") for name in NAMES)
        stage.run_for(1)
    unheard = start_latency(stage, since)
    stage.heal()
    healed = until(lambda: (p99 := start_latency(stage, stage.now() - timedelta(seconds=3))) < 0.5 and p99, 20, 0.5)
    stage.judge(figures(silenced=silenced, p99_start_elsewhere={"heard": heard, "unheard": unheard, "healed": healed}))
    assert silenced >= 3
    assert heard < 0.5
    assert heard < unheard < 1.5


def start_latency(stage: Stage, since: datetime) -> float:
    """Return how late the runs on another replica than the leader's were started: the 99th percentile, in seconds."""
    row = stage.row(
        "SELECT percentile_disc(0.99) WITHIN GROUP (ORDER BY lateness_ms) / 1000.0 AS p99 FROM job_execution_log "
        "WHERE job_name LIKE 'elsewhere-%%' AND fire_time >= %s AND attempt = 1",
        since,
    )
    return round(float(row["p99"] or 99), 3)


def test_the_notify_queue_is_full(stage: Stage) -> None:
    """A listener that does not read blocks it: NOTIFY fails, and nothing waits for it."""
    with (
        open_folder("scheduledjobs-queue-") as base,
        own_server(stage, base / "server", max_notify_queue_pages="64"),
    ):
        begin(stage)
        since = stage.now()
        with psycopg.connect(stage.url, autocommit=True, application_name="stranger") as deaf:
            deaf.execute("LISTEN something")
            deaf.execute("BEGIN")
            deaf.execute("SELECT 1")
            with pytest.raises(psycopg.OperationalError, match="too many notifications"):
                shout(stage)
            stage.run_for(8)
            gap = stage.gap(since)
            failed = sum(logged(stage, name, "too many notifications") for name in NAMES)
        stage.judge(figures(gap=gap, refused_notifies_logged=failed, latest_start=latest_start(stage)))
        assert failed > 0
        assert gap < ON_TIME_SECONDS
        assert latest_start(stage) < 2


def shout(stage: Stage) -> None:
    """Notify until the server refuses it."""
    with psycopg.connect(stage.url, autocommit=True) as loud:
        while True:
            loud.execute("SELECT pg_notify('something', repeat(random()::text, 300))")


def test_a_stranger_holds_a_snapshot_and_another_one_job(stage: Stage) -> None:
    """An old snapshot over the whole load, and the lock of one job for 10 s: the other jobs are on time."""
    stage.start_all()
    with stranger(stage, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT txid_current()"):
        stage.load()
        under_way(stage)
        since = stage.now()
        with stranger(stage, "SELECT 1 FROM job_definition WHERE name IN ('fine-7', 'delay-1') FOR UPDATE"):
            edit(stage, ["fine-3"], 1)
            stage.run_for(10)
        back = stage.now()
        stage.run_for(3)
        locked = late(stage, since)
        others = stage.row(
            "SELECT max(extract(epoch FROM at - fire_time))::float AS late FROM audit "
            "JOIN job_execution_log AS e ON e.id = execution_id WHERE fire_time BETWEEN %s AND %s "
            "AND job_name NOT IN ('fine-7', 'delay-1')",
            since,
            back,
        )["late"]
        gap = stage.gap(since)
        stage.judge(figures(gap=gap, late_locked=locked, late_others=others, lost=lost(stage)))
    assert locked > 8
    assert others < 1
    assert gap < ON_TIME_SECONDS
