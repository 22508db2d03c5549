"""Faults of handlers: they block, raise what they should not, fork, leak, talk too much, and end their replica."""

from __future__ import annotations

import json
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.conftest import job, until
from tests.faults.stage import NAMES, Stage, figures, load

MISCHIEF = "witness,mischief"
BLOCK_SECONDS = 60.0
SPIN_SECONDS = 20.0
LOST_WITHIN_SECONDS = 15.0
HAND_OVER_SECONDS = 3.0
ENDED = "state NOT IN ('PENDING', 'RUNNING')"


def start(stage: Stage, **settings: str) -> None:
    """Start three replicas: `one` leads, and it alone has the handlers that misbehave."""
    stage.start("one", handlers=MISCHIEF, **settings)
    stage.wait_leader()
    stage.start("two", **settings)
    stage.start("three", **settings)
    for name in NAMES:
        until(lambda name=name: stage.is_ready(name), 30)
    assert stage.leader() == "one"


def restart(stage: Stage, name: str, **settings: str) -> None:
    """Start a replica again and wait until it is ready."""
    stage.start(name, **settings)
    until(lambda: stage.is_ready(name), 30)


def soon(seconds: float = 1.0) -> str:
    """Return a moment as it stands in a manifest."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def once(name: str, do: str, handler: str = "mischief", seconds_ahead: float = 1.0, **spec: Any) -> dict[str, Any]:
    """Return a job that does one mischief, once, soon."""
    payload = {"do": do, **spec.pop("payload", {})}
    return job(name, handler=handler, runAt=soon(seconds_ahead), payload=payload, **spec)


def result(stage: Stage, name: str, seconds: float = 20) -> dict[str, Any]:
    """Return the row of a job's one moment once it has ended."""
    query = f"SELECT * FROM job_execution_log WHERE job_name = %s AND {ENDED}"
    return until(lambda: stage.rows(query, name), seconds)[0]


def told(stage: Stage) -> list[dict[str, Any]]:
    """Return what the mischief told besides its attempts."""
    files = sorted(stage.witness.glob("*.mischief"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def late(stage: Stage, since: datetime) -> list[float]:
    """Return how late the scheduled first attempts of the load began, in seconds."""
    query = (
        "SELECT lateness_ms / 1000.0 AS late FROM job_execution_log WHERE handler LIKE 'witness%%'"
        " AND trigger = 'SCHEDULE' AND lateness_ms IS NOT NULL AND fire_time >= %s AND job_name NOT LIKE 'queue%%'"
        " AND job_name NOT LIKE 'replace%%' AND job_name NOT LIKE 'retry%%' ORDER BY 1"
    )
    return [float(row["late"]) for row in stage.rows(query, since)]


def log_size(stage: Stage, name: str) -> int:
    """Return how many bytes a replica has logged."""
    return (stage.folder / f"{name}.log").stat().st_size


def term(stage: Stage) -> int:
    """Return the number of the term in force."""
    return int(stage.row("SELECT term FROM leadership")["term"])


def pids(stage: Stage) -> dict[str, int]:
    """Return the process of each replica."""
    return {name: process.pid for name, process in stage.processes.items()}


def test_a_handler_blocks_its_loop_for_a_minute(stage: Stage) -> None:
    start(stage)
    stage.load()
    before, was = term(stage), pids(stage)
    stage.create(
        [
            once("timed", "sleep", payload={"seconds": 100}, timeout="5s"),
            once("blocking", "block", payload={"seconds": BLOCK_SECONDS}, seconds_ahead=3),
        ]
    )
    running = "SELECT started_at FROM job_execution_log WHERE job_name = 'blocking' AND state = 'RUNNING'"
    until(lambda: any(n["job"] == "blocking" for n in stage.notes()), 20)
    assert stage.rows(running)
    since = stage.now()
    stage.run_for(BLOCK_SECONDS - 5)
    assert stage.rows(running), "it blocks no more"
    assert stage.is_ready("one")
    upto = stage.now()
    blocking, timed = result(stage, "blocking"), result(stage, "timed")
    assert (blocking["state"], timed["state"]) == ("SUCCEEDED", "TIMED_OUT")
    assert timed["finished_at"] >= blocking["started_at"] + timedelta(seconds=BLOCK_SECONDS - 1)
    assert (term(stage), pids(stage)) == (before, was)
    times = late(stage, since)
    held = stage.count("claimed_by = (SELECT id FROM scheduler_instance WHERE hostname = 'one') AND lateness_ms > 2000")
    stage.judge(figures(gap_meanwhile=stage.gap(since, upto), p99_late=times[int(len(times) * 0.99)], held=held))
    assert stage.gap(since, upto) < 1
    assert times[int(len(times) * 0.99)] < 2, "the blocked replica kept others' work to itself"


def test_a_handler_spins_in_pure_python(stage: Stage) -> None:
    start(stage)
    stage.load()
    before = term(stage)
    stage.create([once("spinning", "spin", payload={"seconds": SPIN_SECONDS})])
    until(lambda: any(n["job"] == "spinning" for n in stage.notes()), 20)
    since = stage.now()
    stage.run_for(SPIN_SECONDS - 2)
    upto = stage.now()
    assert stage.count("job_name = 'spinning' AND state = 'RUNNING'") == 1
    assert result(stage, "spinning")["state"] == "SUCCEEDED"
    times = late(stage, since)
    stage.judge(
        figures(
            gap_meanwhile=stage.gap(since, upto),
            p50_late=statistics.median(times),
            p99_late=times[int(len(times) * 0.99)],
            max_late=times[-1],
        )
    )
    assert term(stage) == before


RAISED = (
    "BaseException",
    "SystemExit",
    "KeyboardInterrupt",
    "CancelledError",
    "GeneratorExit",
    "StopIteration",
    "StopAsyncIteration",
    "RecursionError",
    "MemoryError",
    "unspeakable",
    "long",
)


def test_handlers_raise_what_ends_a_program(stage: Stage) -> None:
    start(stage)
    stage.load()
    was = pids(stage)
    jobs = [
        once(f"throws-{error.lower()}-{handler}", "throw", handler, 2 + 0.05 * n, payload={"error": error})
        for n, error in enumerate(RAISED)
        for handler in ("mischief", "mischief-sync")
    ]
    jobs += [
        once("throws-in-task", "throw_in_task", seconds_ahead=3, payload={"error": "SystemExit"}),
        once("throws-interrupt-in-task", "throw_in_task", seconds_ahead=3.2, payload={"error": "KeyboardInterrupt"}),
        once("throws-itself-out", "cancel_itself", seconds_ahead=3.4),
        once("stops-its-loop", "stop_loop", seconds_ahead=3.6),
        once("goes-on", "sleep", seconds_ahead=4, payload={"seconds": 0.1}),
    ]
    stage.create(jobs)
    throwing = [each["metadata"]["name"] for each in jobs if each["metadata"]["name"].startswith("throws-")]
    ended = {name: result(stage, name) for name in throwing}
    wrong = {name: (row["state"], row["reason"]) for name, row in ended.items() if row["state"] != "FAILED"}
    assert not wrong
    assert all(row["reason"] == "Error" and row["message"] for row in ended.values())
    assert max(len(row["message"]) for row in ended.values()) <= 512
    assert result(stage, "goes-on")["state"] == result(stage, "stops-its-loop")["state"] == "SUCCEEDED"
    stage.judge(figures(raised=len(ended), log_bytes=log_size(stage, "one")))
    assert pids(stage) == was


def test_a_handler_ends_its_process(stage: Stage) -> None:
    start(stage)
    stage.load()
    long = [once(f"long-{n}", "sleep", payload={"seconds": 60}, retry={"limit": 0}) for n in range(3)]
    again = [
        once(f"anew-{n}", "long_once", payload={"seconds": 60}, retry={"limit": 1, "backoff": "1s"}) for n in range(3)
    ]
    stage.create([*long, *again])
    running = "job_name LIKE 'long-%%' OR job_name LIKE 'anew-%%') AND (state = 'RUNNING'"
    until(lambda: stage.count(f"({running})") >= 6, 20)
    stage.create([once("deadly", "die")])
    process = stage.processes["one"]
    until(lambda: process.poll() is not None, 20)
    stage._reap(process)
    died = stage.now()
    assert process.returncode == 3
    lost = (
        "SELECT state, reason, finished_at FROM job_execution_log WHERE job_name LIKE 'long-%%' OR job_name = 'deadly'"
    )
    until(lambda: all(row["state"] == "LOST" for row in stage.rows(lost)), LOST_WITHIN_SECONDS)
    took = [(row["finished_at"] - died).total_seconds() for row in stage.rows(lost)]
    restart(stage, "one", handlers=MISCHIEF)
    until(lambda: stage.count("job_name LIKE 'anew-%%' AND state = 'SUCCEEDED' AND attempt = 2") >= 3, 20)
    stage.judge(figures(lost_after=statistics.median(took)))


def children(pid: int) -> list[int]:
    """Return the processes that this one started and that have not ended."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(each) for each in (task / "children").read_text().split()]
    return [child for child in found if not is_gone(child)]


def is_gone(pid: int) -> bool:
    """Return whether a process has ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def tcp_of(pid: int) -> int:
    """Return how many TCP sockets a process has open."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        inodes |= {line.split()[9] for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]}
    found = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found += str(entry.readlink()).removeprefix("socket:[").rstrip("]") in inodes
        except OSError:
            continue
    return found


@pytest.mark.parametrize("handler", ["mischief", "mischief-sync"])
def test_a_handler_forks(stage: Stage, handler: str) -> None:
    """The child is no second operator: it holds no connection, runs on nobody's handler and completes nothing."""
    start(stage)
    stage.load()
    was = pids(stage)
    stage.create(
        [
            *[once(f"beside-{n}", "sleep", payload={"seconds": 4}) for n in range(3)],
            once("forks", "fork", handler, 3, payload={"seconds": 12}),
            *[once(f"slips-{n}", "fork_and_return", handler, 3.2 + n / 10) for n in range(5)],
        ]
    )
    until(lambda: len([each for each in told(stage) if each["what"] == "child"]) >= 6, 20)
    for name in ("forks", *(f"slips-{n}" for n in range(5))):
        assert result(stage, name)["state"] == "SUCCEEDED"
    slipped = [each["pid"] for each in told(stage) if each["what"] == "child"]
    until(lambda: len(children(was["one"])) == 1, 5)
    (well_meant,) = children(was["one"])
    sockets = tcp_of(well_meant)
    until(lambda: stage.count("job_name LIKE 'beside-%%' AND state = 'SUCCEEDED'") == 3, 20)
    began = {note["id"]: note["pid"] for note in stage.notes() if note["what"] == "start"}
    strange = [note for note in stage.notes() if note["pid"] in slipped and note["pid"] != began[note["id"]]]
    assert {note["job"] for note in strange} <= {f"slips-{n}" for n in range(5)}, "a child ran another's handler on"
    assert not is_gone(well_meant)
    stage.kill("one")
    until(lambda: stage.leader() != "one", 4)
    sessions = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name LIKE 'scheduledjobs%%'"
    assert not is_gone(well_meant)
    assert sockets == 0, f"the child holds {sockets} TCP sockets"
    restart(stage, "one", handlers=MISCHIEF)
    stage.judge(figures(children=len(slipped), sockets=sockets, sessions=stage.row(sessions)["n"]))


def test_a_handler_leaks_threads(stage: Stage) -> None:
    start(stage)
    stage.load()
    stage.create([once("leaking", "leak_threads", payload={"count": 500, "seconds": 12})])
    assert result(stage, "leaking")["state"] == "SUCCEEDED"
    threads = len(list(Path(f"/proc/{stage.processes['one'].pid}/task").iterdir()))
    assert threads > 500
    since = stage.now()
    stage.run_for(8)
    times = late(stage, since)
    stage.judge(figures(threads=threads, p99_late=times[int(len(times) * 0.99)], rss_mib=stage.rss("one")))


def test_a_handler_leaves_too_much(stage: Stage) -> None:
    """A result of 100 MiB, 100 MiB of log lines: cut and marked, and the memory comes back."""
    start(stage)
    stage.load()
    stage.run_for(5)
    before, written = stage.rss("one"), log_size(stage, "one")
    peak = before
    stage.create(
        [
            once("large", "result", payload={"count": 100}),
            once("large-sync", "result", "mischief-sync", 2, payload={"count": 100}),
            once("chatty", "chatter", "mischief-sync", 3, payload={"count": 100}),
        ]
    )
    names = ["large", "large-sync", "chatty"]
    mine = "job_name = ANY(%s) AND " + ENDED

    def have_ended() -> bool:
        nonlocal peak
        peak = max(peak, stage.rss("one"))
        return stage.count(mine, names) == len(names)

    until(have_ended, 60)
    for name in ("large", "large-sync"):
        row = result(stage, name)
        assert row["state"] == "SUCCEEDED"
        assert row["result"]["truncated"] is True
        assert len(json.dumps(row["result"])) <= 17_000
    row = result(stage, "chatty")
    output = stage.row("SELECT * FROM job_execution_output WHERE execution_id = %s", row["id"])
    assert output["truncated"]
    assert 60_000 < len(output["output"]) <= 65_536
    logged = (log_size(stage, "one") - written) / 1024
    until(lambda: stage.rss("one") < before + 60, 10)
    stage.judge(
        figures(rss_before=before, rss_peak=peak, rss_after=stage.rss("one"), logged_KiB=logged, late=late_of(stage))
    )
    assert logged < 1024


def late_of(stage: Stage) -> float:
    """Return the 99th percentile of the lateness of the whole load, in seconds."""
    times = late(stage, stage.began)
    return times[int(len(times) * 0.99)]


# Workers that die or freeze with their handlers.


def running_of(stage: Stage, name: str) -> list[dict[str, Any]]:
    """Return what the log says this replica runs."""
    return stage.rows(
        "SELECT e.* FROM job_execution_log AS e JOIN scheduler_instance AS i ON i.id = e.claimed_by"
        " WHERE i.hostname = %s AND i.dead_at IS NULL AND e.state = 'RUNNING'",
        name,
    )


def long_of(stage: Stage, name: str) -> list[dict[str, Any]]:
    """Return what this replica runs of the jobs whose handlers take some seconds."""
    return [row for row in running_of(stage, name) if row["job_name"].startswith("long-")]


def lost_after(stage: Stage, rows: list[dict[str, Any]], since: datetime) -> list[float]:
    """Return after how many seconds each of these attempts was declared lost, once all of them were."""
    query = (
        "SELECT e.id, coalesce(a.finished_at, e.finished_at) AS at FROM job_execution_log AS e"
        " LEFT JOIN job_execution_attempt AS a ON a.execution_id = e.id AND a.state = 'LOST'"
        " WHERE e.id = ANY(%s) AND (e.state = 'LOST' OR a.state = 'LOST')"
    )
    ids = [row["id"] for row in rows]
    found = until(lambda: len(got := stage.rows(query, ids)) >= len(ids) and got, LOST_WITHIN_SECONDS + 2)
    return [(row["at"] - since).total_seconds() for row in found if row["at"] is not None]


@pytest.mark.parametrize("which", ["a worker", "the leader"])
def test_a_replica_is_killed_with_its_handlers(stage: Stage, which: str) -> None:
    stage.start_all()
    stage.load([*load_and_long(stage)])
    leader = stage.leader()
    name = leader if which == "the leader" else stage.random.choice([n for n in NAMES if n != leader])
    assert name is not None
    until(lambda: len(running_of(stage, name)) >= 3, 20)
    stage.kill(name)
    since = stage.now()
    rows = running_of(stage, name)
    assert rows
    times = lost_after(stage, rows, since)
    restart(stage, name)
    stage.judge(figures(lost=len(times), median=statistics.median(times), longest=max(times)))
    assert max(times) <= LOST_WITHIN_SECONDS


def load_and_long(stage: Stage) -> list[dict[str, Any]]:
    """Return the load, and jobs whose handlers take some seconds, half of them with retries."""
    begin = (datetime.now(UTC) + timedelta(seconds=4)).replace(microsecond=0)
    at = begin.isoformat().replace("+00:00", "Z")
    retry = {"limit": 3, "backoff": "1s"}
    long = [
        job(
            f"long-{n}",
            handler="witness",
            payload={"seconds": 3},
            fixedRate="4s",
            startTime=at,
            **({"retry": retry} if n % 2 else {}),
        )
        for n in range(48)  # more than the slots of one replica, so that some are left to the followers
    ]
    return [*load(begin), *long]


def test_a_worker_is_killed_between_the_end_of_a_handler_and_its_completion(stage: Stage) -> None:
    stage.start_all()
    stage.load(load_and_long(stage))
    name = stage.random.choice([n for n in NAMES if n != stage.leader()])
    pid = stage.processes[name].pid
    until(lambda: len(long_of(stage, name)) >= 3, 20)
    stage.db[name].stall()
    cut_at = time.monotonic()
    held = {row["id"]: row["claim_no"] for row in running_of(stage, name)}

    def ended() -> list[int]:
        done = [n for n in stage.notes() if n["pid"] == pid and n["what"] == "end" and n["at"] > cut_at]
        return [n["id"] for n in done if held.get(n["id"]) == n["claim_no"]]

    until(lambda: len(ended()) >= 2, 6)
    stage.kill(name)
    since = stage.now()
    rows = [row for row in running_of(stage, name) if row["id"] in set(ended())]
    assert rows, "no completion was on its way"
    stage.db[name].cut()  # what it had sent of them is lost with its link
    stage.db[name].flow()
    times = lost_after(stage, rows, since)
    restart(stage, name)
    stage.judge(figures(ended_unwritten=len(rows), median=statistics.median(times), longest=max(times)))
    assert max(times) <= LOST_WITHIN_SECONDS


def test_a_worker_is_frozen_past_its_heartbeat_and_completes(stage: Stage) -> None:
    stage.start_all()
    stage.load(load_and_long(stage))
    name = stage.random.choice([n for n in NAMES if n != stage.leader()])
    pid = stage.processes[name].pid
    until(lambda: len(long_of(stage, name)) >= 3, 20)
    stage.freeze(name)
    rows = running_of(stage, name)
    since = stage.now()
    stage.run_for(20)
    times = lost_after(stage, rows, since)
    stage.thaw(name)
    stale = "scheduledjobs_stale_completions_total"  # none where it saw first that its trust was gone
    until(lambda: running_of(stage, name), 15)
    stage.run_for(2)
    stage.judge(figures(lost=len(rows), median=statistics.median(times), stale=stage.metric(name, stale)))
    assert stage.processes[name].pid == pid
    assert stage.processes[name].poll() is None


# SIGTERM.


def test_the_leader_is_asked_to_stop_under_load(stage: Stage) -> None:
    stage.start_all()
    stage.load()
    stage.run_for(4)
    name = stage.leader()
    assert name is not None
    since = stage.now()
    took = stage.terminate(name)
    assert stage.processes[name].returncode == 0
    stage.run_for(3)
    stage.judge(figures(exit=took, hand_over_gap=stage.gap(since), lost_rows=stage.count("state = 'LOST'")))
    assert stage.count("state = 'LOST'") == 0
    assert stage.gap(since) < HAND_OVER_SECONDS


def long_ones(handler: str, seconds: float = 60) -> list[dict[str, Any]]:
    """Return jobs whose first attempts take long, with and without retries."""
    retry = {"limit": 1, "backoff": "1s"}
    return [
        *[once(f"long-{handler}-{n}", "long_once", handler, payload={"seconds": seconds}) for n in range(2)],
        *[
            once(f"anew-{handler}-{n}", "long_once", handler, payload={"seconds": seconds}, retry=retry)
            for n in range(2)
        ],
    ]


@pytest.mark.parametrize("how", ["twice", "and its grace is too short"])
def test_a_replica_is_asked_to_stop(stage: Stage, how: str) -> None:
    drain = "60" if how == "twice" else "3"
    start(stage, drain_seconds=drain)
    stage.load()
    stage.create([*long_ones("mischief"), *long_ones("mischief-sync")])
    until(lambda: stage.count("handler LIKE 'mischief%%' AND state = 'RUNNING'") == 8, 20)
    process, began = stage.processes["one"], time.monotonic()
    process.terminate()
    stage.run_for(1.5)
    assert process.poll() is None, "it did not wait"
    if how == "twice":
        process.terminate()
    stage._reap(process)
    took = time.monotonic() - began
    assert process.returncode == 0
    drained = "handler LIKE 'mischief%%' AND state = 'LOST' AND reason = 'Drained'"
    until(lambda: stage.count(drained) == 4, 15)
    restart(stage, "one", handlers=MISCHIEF)
    until(lambda: stage.count("job_name LIKE 'anew-mischief%%' AND state = 'SUCCEEDED' AND attempt = 2") == 4, 30)
    stage.judge(figures(exit=took, drained=stage.count(drained)))
    assert took < (10 if how == "twice" else 12)
