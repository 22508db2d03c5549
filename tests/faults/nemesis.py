"""The nemesis: faults at random, one or two at a time, each taken back after a while."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from tests.acceptance.conftest import job, until
from tests.faults.proxy import Trap
from tests.faults.stage import NAMES, Stage

LONGEST_SECONDS = 12.0
CHURNED = 4
SURVIVOR = "three"
"""A replica that is never killed, so that its memory can be watched."""

LEASE = "/apis/coordination.k8s.io/v1/namespaces/{}/leases/{}"
TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE %s AND pid <> pg_backend_pid()
"""
EDITS: tuple[dict[str, Any], ...] = (
    {"suspend": True},
    {"suspend": False},
    {"fixedRate": "2s"},
    {"fixedRate": "3s"},
    {"payload": {"seconds": 0.5}},
)


def churned(number: int, start: datetime) -> dict[str, Any]:
    """A job that is edited, paused and run now all the time."""
    at = start.isoformat().replace("+00:00", "Z")
    return job(f"churn-{number}", handler="witness", payload={"seconds": 0.2}, fixedRate="2s", startTime=at)


@dataclass
class Nemesis:
    """The faults of one run; `said` are those of the last rounds, for whoever reads a failure."""

    stage: Stage
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = self.stage.random

    def round(self) -> None:
        """Change some jobs, strike once or twice, let it last, take it back, and let the replicas go on for a while."""
        self.churn()
        chosen = self.random.sample(sorted(FAULTS), self.random.choice((1, 1, 2)))
        lasts = self.random.uniform(0.5, LONGEST_SECONDS)
        self.stage.tell(f"{datetime.now(UTC):%H:%M:%S} {' and '.join(chosen)}, {lasts:.1f} s")
        healers = []
        for name in chosen:
            self.counts[name] = self.counts.get(name, 0) + 1
            healers.append(FAULTS[name](self, self._target()))
        self.stage.run_for(lasts)
        for heal in healers:
            heal()
        self.stage.heal()
        self.stage.run_for(self.random.uniform(1.0, 6.0))

    def _target(self) -> str:
        """A replica, the leader half of the time."""
        leader = self.stage.leader()
        return leader if leader in NAMES and self.random.random() < 0.5 else self.random.choice(NAMES)

    def churn(self) -> None:
        """Edit, suspend, resume and run now; delete and create again now and then."""
        stage, number = self.stage, self.random.randrange(CHURNED)
        name, draw = f"churn-{number}", self.random.random()
        if draw < 0.2:
            stage.cluster.kubectl("delete", "sjob", name, "-n", stage.namespace, "--ignore-not-found", "--wait=false")
            start = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
            stage.cluster.kubectl("create", "-n", stage.namespace, "-f", "-", stdin=json.dumps(churned(number, start)))
        elif draw < 0.4:
            token = f"scheduledjobs.dev/run-now=t{self.random.randrange(10**9)}"
            stage.cluster.kubectl("annotate", "sjob", name, "-n", stage.namespace, "--overwrite", token)
        else:
            patch = json.dumps({"spec": self.random.choice(EDITS)})
            stage.cluster.kubectl("patch", "sjob", name, "-n", stage.namespace, "--type=merge", "-p", patch)

    # Each fault strikes and returns what takes it back beyond `stage.heal`.

    def kill(self, name: str) -> Callable[[], None]:
        """SIGKILL, and a new process after a while."""
        name = self._mortal(name)
        self.stage.kill(name)
        return lambda: self.stage.start(name)

    def terminate(self, name: str) -> Callable[[], None]:
        """SIGTERM, and a new process after a while."""
        name = self._mortal(name)
        self.stage.terminate(name)
        return lambda: self.stage.start(name)

    def _mortal(self, name: str) -> str:
        living = [each for each in self.stage.living() if each != SURVIVOR]
        return name if name in living else self.random.choice(living)

    def freeze(self, name: str) -> Callable[[], None]:
        """SIGSTOP, and SIGCONT after a while."""
        if name in self.stage.living():
            self.stage.freeze(name)
        return nothing

    def cut_database(self, name: str) -> Callable[[], None]:
        """No way to PostgreSQL."""
        self.stage.db[name].refused = True
        self.stage.db[name].cut()
        return nothing

    def stall_database(self, name: str) -> Callable[[], None]:
        """A way to PostgreSQL on which nothing moves."""
        self.stage.db[name].stall()
        return nothing

    def slow_database(self, name: str) -> Callable[[], None]:
        """100 ms more each way."""
        self.stage.db[name].delay = 0.1
        return nothing

    def vanish_database(self, name: str) -> Callable[[], None]:
        """Every session there is becomes silent for ever; new ones work."""
        self.stage.db[name].vanish()
        return nothing

    def lose_commit(self, _: str) -> Callable[[], None]:
        """The leader's next COMMIT is acknowledged to nobody."""
        leader = self.stage.leader()
        if leader in NAMES:
            self.stage.db[leader].traps.append(Trap("sent", b"COMMIT", b"scheduledjobs leader", answered=True))
        return nothing

    def cut_api(self, name: str) -> Callable[[], None]:
        """No way to the API server."""
        self.stage.api[name].refused = True
        self.stage.api[name].reset()
        return nothing

    def stall_api(self, name: str) -> Callable[[], None]:
        """An API server that accepts and never answers."""
        self.stage.api[name].stall()
        return nothing

    def terminate_backends(self, _: str) -> Callable[[], None]:
        """An administrator ends all sessions of one kind, on every replica."""
        kind = self.random.choice(("leader", "control", "work", "claim", "listen", "seat", ""))
        with psycopg.connect(self.stage.url, autocommit=True) as conn:
            conn.execute(TERMINATE.encode(), [f"scheduledjobs {kind}%"])
        return nothing

    def crash_postgres(self, _: str) -> Callable[[], None]:
        """The server crashes and comes back after its recovery."""
        self.stage.postgres.stop(signal.SIGQUIT)
        self.stage.run_for(self.random.uniform(0, 3))
        self.stage.postgres.start()
        return nothing

    def kill_api_server(self, _: str) -> Callable[[], None]:
        """The API server is killed and started again."""
        self.stage.cluster.stop_apiserver(signal.SIGKILL)
        return self.stage.cluster.start_apiserver

    def delete_lease(self, _: str) -> Callable[[], None]:
        """The Lease is gone."""
        self._kubectl("delete", "lease", self.stage.lease)
        return nothing

    def take_lease(self, _: str) -> Callable[[], None]:
        """A stranger holds the Lease, and never renews it."""
        patch = json.dumps({"spec": {"holderIdentity": "a-stranger", "renewTime": "2035-01-01T00:00:00.000000Z"}})
        self._kubectl("patch", "lease", self.stage.lease, "--type=merge", "-p", patch)
        return nothing

    def _kubectl(self, *words: str) -> None:
        self.stage.cluster.kubectl(*words, "-n", self.stage.namespace, check=False)

    def lock_log(self, _: str) -> Callable[[], None]:
        """A migration by hand holds the log for three seconds."""
        with psycopg.connect(self.stage.url) as conn, suppress(psycopg.errors.LockNotAvailable):
            conn.execute("SET lock_timeout = '3s'")
            conn.execute("LOCK TABLE job_execution_log IN ACCESS EXCLUSIVE MODE")
            self.stage.run_for(3)
        return nothing


def nothing() -> None:
    """`stage.heal` is all that it takes."""


FAULTS: dict[str, Callable[[Nemesis, str], Callable[[], None]]] = {
    name.replace("_", " "): getattr(Nemesis, name)
    for name in (
        *("kill", "terminate", "freeze", "cut_database", "stall_database", "slow_database", "vanish_database"),
        *("lose_commit", "cut_api", "stall_api", "terminate_backends", "crash_postgres", "kill_api_server"),
        *("delete_lease", "take_lease", "lock_log"),
    )
}


def bring_back(stage: Stage) -> None:
    """Every replica lives and is ready again."""
    for name in NAMES:
        if name not in stage.living():
            stage.start(name)
    for name in NAMES:
        until(lambda name=name: stage.is_ready(name), 60)
