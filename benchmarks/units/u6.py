"""U6: 100 fires a second while the leader of two replicas is stopped, killed or frozen, again and again."""

from __future__ import annotations

import argparse
import re
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from dev.processes import say, until

from benchmarks.bench import SLOTS, Bench
from benchmarks.figures import Figure, at_most
from benchmarks.replica import Replica
from benchmarks.units.load import WARM_UP_SECONDS, lateness, start_load

LEASE_SECONDS = 5.0
GOALS = {
    signal.SIGTERM: at_most(0.2),
    signal.SIGKILL: at_most(2.0),
    signal.SIGSTOP: at_most(LEASE_SECONDS + 0.5),
}
CAP_SECONDS = 60.0
VERDICT = re.compile(r"(\d+) lost, (\d+) doubled, (\d+) moments")
LEADER = "SELECT term, holder FROM leadership"
TAKEN = "SELECT acquired_at AS at FROM leadership_term WHERE term > %(term)s ORDER BY term LIMIT 1"
LIVE = """
SELECT count(*) AS n FROM job_execution_log WHERE state IN ('PENDING', 'RUNNING') AND fire_time <= %(now)s
"""
ENDED_LOST = "SELECT count(*) AS n FROM job_execution_log WHERE state = 'LOST'"


@dataclass(frozen=True, slots=True)
class Strike:
    """What one signal did: seconds until another replica had the term, and how late the latest start was, in ms."""

    hand_over: float
    latest: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this unit's options."""
    parser.add_argument("--count", type=int, default=5, help="times of each signal (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=100, help="fires a second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="pause after each (default: %(default)g)")
    parser.add_argument("--slots", type=int, default=SLOTS, help="slots of a replica (default: %(default)s)")


def run(bench: Bench, words: argparse.Namespace) -> list[Figure]:
    """Strike the leader with each signal in turn, then hold the log against what was due."""
    bench.fresh_database()
    found: dict[signal.Signals, list[Strike]] = defaultdict(list)
    with bench.replicas(2, words.slots, LEASE_SECONDS=str(LEASE_SECONDS)) as replicas:
        start_load(bench, next(replica for replica in replicas if replica.is_leader()), words.rate)
        time.sleep(WARM_UP_SECONDS)
        start = bench.now()
        for number in range(1, words.count + 1):
            for sent in GOALS:
                strike = _strike(bench, replicas, sent, words)
                say(f"{sent.name} {number} of {words.count}: {strike.hand_over:.2f} s, latest {strike.latest:.0f} ms")
                found[sent].append(strike)
        lost, doubled, moments = _verify(bench, start)
    return [
        *(figure for sent, strikes in found.items() for figure in _figures(sent, strikes)),
        Figure("moments held against the log", (moments,)),
        Figure("lost", (lost,), "", at_most(0)),
        Figure("doubled", (doubled,), "", at_most(0)),
        Figure("ended LOST with their replica", (float(bench.one(ENDED_LOST)["n"]),)),
    ]


def _figures(sent: signal.Signals, strikes: list[Strike]) -> Iterator[Figure]:
    yield Figure(f"{sent.name}: hand-over", tuple(strike.hand_over for strike in strikes), "s", GOALS[sent])
    yield Figure(f"{sent.name}: latest start", (max(strike.latest for strike in strikes),), "ms")


def _strike(bench: Bench, replicas: list[Replica], sent: signal.Signals, words: argparse.Namespace) -> Strike:
    """Strike the leader, see another one take over, and make it two replicas again: one that is gone is replaced, one
    that is frozen goes on a second later, before it could be declared dead."""
    leading = bench.one(LEADER)
    leader = next(replica for replica in replicas if leading["holder"].rsplit("_", 1)[0] == replica.name)
    struck_at = bench.now()
    leader.process.send_signal(sent)
    taken = lambda: "at" in bench.one(TAKEN, term=leading["term"])  # noqa: E731 asked again and again
    bench.wait(taken, f"nobody took over after {sent.name}", CAP_SECONDS, 0.02)
    hand_over = (bench.one(TAKEN, term=leading["term"])["at"] - struck_at).total_seconds()
    if sent is signal.SIGSTOP:
        time.sleep(1)
        leader.process.send_signal(signal.SIGCONT)
    else:
        leader.wait_end()
        replicas.remove(leader)
        name = f"replica-{leading['term']}-next"
        replicas.append(bench.replica(name, words.slots, None, LEASE_SECONDS=str(LEASE_SECONDS)))
    bench.wait_ready(replicas)
    time.sleep(words.seconds)
    seconds = (bench.now() - struck_at).total_seconds()
    return Strike(hand_over, lateness(bench, struck_at, seconds).last)


def _verify(bench: Bench, since: datetime) -> tuple[float, float, float]:
    """Wait until what was due has ended, and return what `scheduledjobs verify` says: lost, doubled, moments.

    `SystemExit` with what it did say where that is none of these.
    """
    now = bench.now()
    until(lambda: bench.one(LIVE, now=now)["n"] == 0, CAP_SECONDS, 0.2)
    said = bench.run_command("verify", "--since", since.isoformat())
    found = VERDICT.search(said)
    if found is None:
        raise SystemExit(f"scheduledjobs: verify said: {said or 'nothing'}")
    return float(found[1]), float(found[2]), float(found[3])
