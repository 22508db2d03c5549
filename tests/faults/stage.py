"""The stage of a scenario: replicas behind proxies, a load of jobs, and what is collected for the checker."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import yaml
from dev.postgres import Postgres
from dev.processes import free_port
from tests.acceptance.conftest import Replicas, create, job, until
from tests.faults.checker import Evidence, Verdict, check
from tests.faults.gateway import Gateway
from tests.faults.proxy import Network, Way

HERE = Path(__file__).parent
NAMES = ("one", "two", "three")
AUDIT = """
CREATE TABLE IF NOT EXISTS audit (execution_id bigint, term bigint, at timestamptz DEFAULT clock_timestamp());
CREATE OR REPLACE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit (execution_id, term)
    VALUES (NEW.id, substring(current_setting('application_name') FROM 'term=(\\d+)')::bigint);
    RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT ON job_execution_log FOR EACH ROW EXECUTE FUNCTION audit();
"""
COLUMNS = (  # not visible_at, which may be infinity
    "id, job_id, namespace, job_name, version, fire_time, last_fire_time, moment_count, run_key, state, reason,"
    " handler, attempt, trigger, claim_no, started_at, finished_at, lateness_ms"
)
SETTLED_SECONDS = 30.0


def load(start: datetime) -> list[dict[str, Any]]:
    """About 45 moments a second, of every kind and policy; grids begin at `start`, so that an oracle knows them.

    Twenty jobs share the second between them, so that a time without any row can be told to 50 ms.
    """
    at = {"startTime": start.isoformat().replace("+00:00", "Z")}
    fine = [start + timedelta(milliseconds=50 * n) for n in range(20)]

    def of(name: str, count: int, seconds: float, **spec: Any) -> list[dict[str, Any]]:
        handler = spec.pop("handler", "witness")
        payload = {"seconds": seconds, **spec.pop("payload", {})}
        return [job(f"{name}-{n}", handler=handler, payload=payload, **spec) for n in range(count)]

    return [
        *[
            job(f"fine-{n}", handler="witness", fixedRate="1s", startTime=moment.isoformat().replace("+00:00", "Z"))
            for n, moment in enumerate(fine)
        ],
        *of("forbid", 8, 0.2, fixedRate="1s", **at),
        *of("busy", 2, 1.3, fixedRate="1s", **at),
        *of("allow", 4, 1.2, fixedRate="1s", concurrencyPolicy="Allow", **at),
        *of("cron", 4, 0.1, schedule="*/2 * * * * *", concurrencyPolicy="Allow"),
        *of("retry", 3, 0.1, fixedRate="2s", retry={"limit": 3, "backoff": "1s"}, payload={"fail": 1}, **at),
        *of("again", 3, 0.3, fixedRate="2s", retry={"limit": 3, "backoff": "1s"}, **at),
        *of("queue", 3, 0.8, fixedRate="2s", concurrencyPolicy="Queue", **at),
        *of("replace", 2, 4.0, fixedRate="3s", concurrencyPolicy="Replace", **at),
        *of("delay", 3, 0.1, fixedDelay="1s"),
        *of("thread", 2, 0.4, handler="witness-sync", fixedRate="2s", **at),
    ]


@dataclass
class Stage(Replicas):
    """Replicas, each with a proxy of its own to either server; faults are healed by `heal`."""

    postgres: Postgres = None  # type: ignore[assignment]
    network: Network = None  # type: ignore[assignment]
    seed: int = 0
    api: dict[str, Way] = field(default_factory=dict)
    db: dict[str, Way] = field(default_factory=dict)
    gateways: dict[str, Gateway] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    died: dict[int, float] = field(default_factory=dict)
    frozen: set[int] = field(default_factory=set)
    skewed: set[int] = field(default_factory=set)
    hostnames: dict[str, str] = field(default_factory=dict)
    unjudged: str = ""
    """Jobs whose name begins so are not the oracle's: made at random, and the scenario says itself what holds."""

    token: str = ""
    """Of whom the replicas are to the API server; the admin where it is empty."""

    tell: Callable[[str], None] = print
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    is_window: bool = False
    kept: list[dict[str, Any]] = field(default_factory=list)
    read: dict[Path, int] = field(default_factory=dict)
    verdict: Verdict | None = None
    figure: str = ""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.witness = self.folder / "witness"
        self.witness.mkdir(exist_ok=True)
        self.audit()

    def audit(self) -> None:
        """From now on each row of the log is noted with the term that inserted it."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(AUDIT.encode())

    def start(self, name: str, **settings: str) -> None:
        """Start a replica behind its proxies."""
        if name not in self.db:
            self.api[name] = Way(self.network, self.cluster.port)
            self.db[name] = Way(self.network, self.postgres.port)
        self.hostnames[name] = settings.get("hostname", name)
        gateway = self.gateways.get(name)
        server = gateway.url if gateway else f"https://127.0.0.1:{self.api[name].port}"
        self.kubeconfig = str(self._write_kubeconfig(name, server))
        self.ports[name] = free_port()
        url = self.url.replace(f":{self.postgres.port}/", f":{self.db[name].port}/")
        chosen = {
            "database_url": url,
            "metrics_port": str(self.ports[name]),
            "handlers": "witness",
            "drain_seconds": "5",
            **settings,
        }
        super().start(name, **chosen)

    def _write_kubeconfig(self, name: str, server: str) -> Path:
        config = yaml.safe_load(self.cluster.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = server
        if self.token:
            config["users"][0]["user"] = {"token": self.token}
        file = self.folder / f"{name}.kubeconfig"
        file.write_text(yaml.safe_dump(config))
        return file

    def start_all(self, names: tuple[str, ...] = NAMES, **settings: str) -> None:
        """Start replicas and wait until one leads and all are ready."""
        for name in names:
            self.start(name, **settings)
        self.wait_leader()
        for name in names:
            until(lambda name=name: self.is_ready(name), 30)

    def load(self, jobs: list[dict[str, Any]] | None = None, seconds: float = 4) -> datetime:
        """Create the load; its grids begin in some seconds, when everything is mirrored. Return when that is."""
        start = (datetime.now(UTC) + timedelta(seconds=seconds)).replace(microsecond=0)
        jobs = load(start) if jobs is None else jobs
        self.create(jobs)
        mirrored = "SELECT count(*) AS n FROM job_definition WHERE state <> 'DELETED'"
        until(lambda: self.row(mirrored)["n"] >= len(jobs), 60)
        self.began = start
        return start

    def create(self, jobs: list[dict[str, Any]]) -> None:
        """Create many jobs at once, past all proxies."""
        os.environ["KUBECONFIG"] = str(self.cluster.kubeconfig)
        try:
            asyncio.run(create(self.namespace, jobs))
        finally:
            del os.environ["KUBECONFIG"]

    def run_for(self, seconds: float) -> None:
        """Let the load run: it is the load itself, not a wait for something."""
        time.sleep(seconds)

    # Faults of processes.

    def kill(self, name: str) -> None:
        """End a replica as the kernel would."""
        process = self.processes[name]
        process.kill()
        self._reap(process)

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        process.wait(60)
        self.died[process.pid] = time.monotonic()

    def terminate(self, name: str) -> float:
        """Ask a replica to stop and return how many seconds it took."""
        process, began = self.processes[name], time.monotonic()
        process.terminate()
        self._reap(process)
        return time.monotonic() - began

    def freeze(self, name: str) -> None:
        """Stop a replica's process where it is."""
        self.frozen.add(self.processes[name].pid)
        self.signal(name, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let it go on."""
        self.signal(name, signal.SIGCONT)

    def living(self) -> list[str]:
        """Return the names of the replicas whose process is there."""
        return [name for name, process in self.processes.items() if process.poll() is None]

    def heal(self) -> None:
        """Take back every fault of the network and of processes that still stand."""
        for name in self.living():
            self.thaw(name)
        for way in (*self.api.values(), *self.db.values()):
            way.flow()
        for gateway in self.gateways.values():
            gateway.rules.clear()

    # What can be seen.

    def is_ready(self, name: str) -> bool:
        """Ask a replica whether it is ready."""
        return self._get_probe(name, "readyz") is not None

    def metric(self, name: str, metric: str) -> float:
        """Return a replica's metric by its full name, labels included, or the first of that name; 0 without one."""
        text = self._get_probe(name, "metrics") or ""
        found = (line.rpartition(" ") for line in text.splitlines())
        values = [value for full, _, value in found if metric in (full, full.split("{")[0])]
        return float(values[0]) if values else 0.0

    def _get_probe(self, name: str, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}/{path}", timeout=2) as answer:
                return str(answer.read().decode())
        except (OSError, urllib.error.URLError):
            return None

    def now(self) -> datetime:
        """Return the database's time."""
        found: datetime = self.row("SELECT scheduler_now() AS now")["now"]
        return found

    def gap(self, since: datetime, upto: datetime | None = None) -> float:
        """Return the longest time without a row, in seconds, from `since` on."""
        row = self.row(
            "SELECT coalesce(extract(epoch FROM max(gap)), 0)::float AS gap FROM ("
            "SELECT at - lag(at) OVER (ORDER BY at) AS gap, at FROM audit) AS a WHERE at >= %s AND at <= %s",
            since,
            upto or datetime.now(UTC) + timedelta(days=1),
        )
        return round(float(row["gap"]), 3)

    def count(self, where: str, *params: Any) -> int:
        """Return how many rows of the log are so."""
        return int(self.row(f"SELECT count(*) AS n FROM job_execution_log WHERE {where}", *params)["n"])

    def rss(self, name: str) -> float:
        """Return a replica's resident memory in MiB."""
        text = Path(f"/proc/{self.processes[name].pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) / 1024

    def notes(self) -> list[dict[str, Any]]:
        """Return what the handlers wrote; a line that a killed process left half written is not one."""
        for file in sorted(self.witness.glob("*.jsonl")):
            with file.open("rb") as lines:
                lines.seek(self.read.get(file, 0))
                whole = lines.read().rpartition(b"\n")[0]
            self.read[file] = self.read.get(file, 0) + (len(whole) + 1 if whole else 0)
            self.kept += [json.loads(line) for line in whole.splitlines()]
        return [note for note in self.kept if datetime.fromisoformat(note["fire_time"]) >= self.since]

    @property
    def since(self) -> datetime:
        """What was due before this has been judged."""
        return self.began if self.is_window else datetime.min.replace(tzinfo=UTC)

    # The end.

    def settle(self, seconds: float = SETTLED_SECONDS) -> datetime:
        """Wait until everything due by now is decided and has ended; return that `now`."""
        now = self.now()
        # A suspended one-shot stays due until its suspension ends.
        moved = (
            "SELECT count(*) AS n FROM job_definition WHERE state <> 'DELETED' AND next_fire_at <= %s"
            " AND NOT (state IN ('SUSPENDED', 'INVALID') AND schedule_kind = 'ONE_SHOT')"
        )
        until(lambda: self.row(moved, now)["n"] == 0, seconds, 0.2)
        live = "state IN ('PENDING', 'RUNNING') AND fire_time <= %s"
        until(lambda: self.count(live, now) == 0, seconds, 0.2)
        return now

    def evidence(self, upto: datetime) -> Evidence:
        """Return all that the checker needs; the handlers' files are read last, so that a row's run is in them."""
        with psycopg.connect(self.url, row_factory=psycopg.rows.dict_row) as conn:
            conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            jobs = conn.execute("SELECT * FROM job_definition").fetchall()
            versions = conn.execute("SELECT * FROM job_definition_version").fetchall()
            newer = "coalesce(last_fire_time, fire_time) >= %s"
            query = f"SELECT {COLUMNS} FROM job_execution_log WHERE {newer}"
            rows = conn.execute(query.encode(), [self.since]).fetchall()
            audit = conn.execute("SELECT * FROM audit WHERE at >= %s", [self.since]).fetchall()
            last = max((row["id"] for row in rows), default=0)
        if self.unjudged:
            jobs = [row for row in jobs if not row["name"].startswith(self.unjudged)]
            rows = [row for row in rows if not row["job_name"].startswith(self.unjudged)]
        known = {row["id"] for row in rows} if self.unjudged else None
        notes = [note for note in self.notes() if note["id"] <= last and (known is None or note["id"] in known)]
        return Evidence(
            self.began,
            upto,
            jobs,
            versions,
            rows,
            notes,
            audit,
            self.died,
            frozenset(self.frozen),
            frozenset(self.skewed),
            self.is_window,
        )

    def next_window(self, upto: datetime) -> None:
        """What was due before `upto` has been judged: from now on look at what comes after it, and keep no more."""
        self.began, self.is_window = upto, True
        self.kept = self.notes()

    def judge(self, figure: str, seconds: float = SETTLED_SECONDS, *, statuses: bool = True) -> Verdict:
        """Wait until all has settled, and hold everything against everything; `AssertionError` names what is wrong.

        Without `statuses` they are not looked at: more have changed than may be patched within ten seconds.
        """
        self.figure = figure
        upto = self.settle(seconds)
        self.check_mirror()
        if statuses:
            self.check_statuses()
        self.verdict = check(self.evidence(upto)).after(self.verdict)
        assert self.verdict.due > 0
        said = "\n".join(f"{f.kind}: {f.job}: {f.detail}" for f in self.verdict.findings[:30])
        assert not self.verdict.findings, f"{len(self.verdict.findings)} findings\n{said}"
        for name in self.living():
            assert self.is_ready(name), f"{name} is not ready: {self._get_probe(name, 'readyz')}"
        leading = [name for name in self.living() if self.metric(name, "leader_election_master_status")]
        leaders = [self.hostnames[name] for name in leading]
        assert leaders == [self.leader()], f"{leaders} say that they lead"
        self.next_window(upto)
        return self.verdict

    def check_mirror(self, seconds: float = 10) -> float:
        """The mirror equals the resources, at most so long from now; return how long it took."""
        began = time.monotonic()
        until(lambda: self._resources() == self._mirrored(), seconds, 0.3)
        return time.monotonic() - began

    def items(self) -> list[dict[str, Any]]:
        """Return the resources as the API server has them."""
        done = self.cluster.kubectl("get", "scheduledjobs", "-n", self.namespace, "-o", "json")
        found: list[dict[str, Any]] = json.loads(done.stdout)["items"]
        return found

    def _resources(self) -> dict[str, int]:
        return {item["metadata"]["uid"]: item["metadata"]["generation"] for item in self.items()}

    def _mirrored(self) -> dict[str, int]:
        rows = self.rows("SELECT id, version FROM job_definition WHERE state <> 'DELETED'")
        return {str(row["id"]): row["version"] for row in rows}

    def check_statuses(self, seconds: float = 10) -> None:
        """Each status tells of what ended ten seconds ago or later, and of the state that SQL has."""
        until(lambda: not list(self._stale_statuses()), seconds, 0.5)

    def _stale_statuses(self) -> Iterator[str]:
        old = "SELECT job_id, max(fire_time) AS at FROM job_execution_log WHERE finished_at <= %s GROUP BY job_id"
        ended = {str(row["job_id"]): row["at"] for row in self.rows(old, self.now() - timedelta(seconds=10))}
        for item in self.items():
            told = item.get("status", {}).get("lastExecution", {}).get("fireTime")
            at = ended.get(item["metadata"]["uid"])
            if at is not None and (told is None or datetime.fromisoformat(told) < at):
                yield f"{item['metadata']['name']}: {told}, SQL has {at}"
            if item.get("status", {}).get("observedGeneration") != item["metadata"]["generation"]:
                yield f"{item['metadata']['name']}: the status is of an older generation"

    def close(self) -> None:
        """Stop everything that the scenario started."""
        self.heal()
        self.stop()
        for way in (*self.api.values(), *self.db.values()):
            way.close()
        for gateway in self.gateways.values():
            gateway.close()


@contextmanager
def clock(stage: Stage, offset: str) -> Iterator[None]:
    """Set the database's time for sessions that begin from now on."""
    with psycopg.connect(stage.url, autocommit=True) as conn:
        name = conn.info.dbname
        conn.execute(f"ALTER DATABASE {name} SET scheduledjobs.clock_offset = '{offset}'".encode())
    yield


def figures(**values: Any) -> str:
    """Return figures as one line: `gap 1.2 s, rows 300`."""
    return ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in values.items())


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(each)}" for key, each in value.items())
    return str(value)
