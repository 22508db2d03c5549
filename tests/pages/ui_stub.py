"""A made-up site: fifty jobs of every state, hostile names and outputs, so that pages can be drawn without a server.

What reads and writes truly do is tested against a real PostgreSQL and API server; here only the pages are.
"""

# ruff: noqa: A002, ARG002 the signatures are those of Reads, Writes and Auth

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid5

from fastapi import FastAPI

from scheduledjobs.core.reasons import JobState, State, Trigger
from scheduledjobs.errors import NotAuthenticated
from scheduledjobs.kube.caller import Caller
from scheduledjobs.web import models, ui
from scheduledjobs.web.hub import Hub
from scheduledjobs.web.problems import ProblemError
from scheduledjobs.web.site import build

NOW = datetime(2026, 11, 24, 17, 30, tzinfo=UTC)
SPACE = UUID("6d1d1b8e-3a51-4c61-9f6e-0b1b4c3f2a10")
HOSTILE = "<script>alert(1)</script>\x00\x1b[31mred\x1b[0m \u202eevil"
PAYLOAD = {"url": "https://x.example/<b>", "password": "•••"}
OUTPUT = "\x1b[32mINFO\x1b[0m began\nrow 1 of 20 <b>bold</b>\n" + HOSTILE + "\n" + "a long line " * 40
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
NAMES = ["nightly-report", "sync-ledger", "rotate-keys", "send-digests", "import-rates", "prune-sessions"]
MINUTE = timedelta(minutes=1)


def outcomes(number: int, seed: int, count: int = 60) -> list[models.Outcome]:
    dice = random.Random(seed)
    weights = [90, 4, 1, 1, 1, 2, 1]
    kinds = [State.SUCCEEDED, State.FAILED, State.TIMED_OUT, State.LOST, State.CANCELLED, State.SKIPPED, State.MISSED]
    return [
        models.Outcome(
            id=number * 1000 + back,
            fire_time=NOW - (back + 1) * 15 * MINUTE,
            state=(state := State.FAILED if number % 7 == 3 and back < 3 else dice.choices(kinds, weights)[0]),
            duration_ms=None if state in (State.SKIPPED, State.MISSED) else int(dice.lognormvariate(7, 0.5)),
        )
        for back in range(count)
    ]


STATES = [JobState.ACTIVE] * 6 + [JobState.SUSPENDED, JobState.ACTIVE, JobState.INVALID, JobState.COMPLETED]


def job(number: int, recent: int = 60) -> models.Job:
    state = STATES[number % len(STATES)]
    name = HOSTILE if number == 4 else f"{NAMES[number % len(NAMES)]}-{number}"
    past = outcomes(number, number)
    is_paused = state is JobState.SUSPENDED
    return models.Job(
        id=uuid5(SPACE, str(number)),
        namespace=("finance", "shop", "platform")[number % 3],
        name=name,
        version=1 + number % 4,
        state=state,
        reason="UnknownTimeZone" if state is JobState.INVALID else "Scheduled",
        message="spec.timeZone: Mars/Olympus is not a zone <i>known</i>" if state is JobState.INVALID else "",
        schedule="*/15 * * * *" if number % 2 else "0 2 * * *",
        words="Every 15 minutes" if number % 2 else "At 02:00",
        time_zone="Europe/Berlin" if number % 2 else "Etc/UTC",
        handler=("http", "sql", "log")[number % 3],
        next_fire_time=NOW + number * 7 * MINUTE if state is JobState.ACTIVE else None,
        last_fire_time=past[0].fire_time,
        paused_until=FOREVER if is_paused else None,
        paused_by="ada@example.com" if is_paused else None,
        pause_reason="database upgrade" if is_paused else None,
        active=number % 5 == 2,
        failures=3 if number % 7 == 3 else 0,
        last_execution=past[0],
        recent=past[:recent],
        managed_by=("Helm", "Argo CD", None, "kubectl-client-side-apply")[number % 4],
    )


def run(id: int, state: State = State.SUCCEEDED, **more: Any) -> models.Execution:
    is_over = state not in (State.PENDING, State.RUNNING)
    has_run = state not in (State.PENDING, State.SKIPPED, State.MISSED)
    at = NOW - (id % 1000 + 1) * 15 * MINUTE
    known = {
        "id": id,
        "job_id": uuid5(SPACE, str(id // 1000)),
        "namespace": job(id // 1000).namespace,
        "job": job(id // 1000).name,
        "version": 1,
        "fire_time": at,
        "state": state,
        "reason": {State.FAILED: "Error", State.SKIPPED: "Overlap", State.MISSED: "TooLate"}.get(state),
        "message": HOSTILE if state is State.FAILED else None,
        "trigger": Trigger.SCHEDULE,
        "handler": "http",
        "attempt": 2 if state is State.FAILED else 1,
        "started_at": at + timedelta(milliseconds=14) if has_run else None,
        "finished_at": at + timedelta(seconds=3 + id % 9) if has_run and is_over else None,
        "duration_ms": 3000 + id % 977 if has_run else None,
        "lateness_ms": 14 + id % 23 if has_run else None,
        "replica": "scheduledjobs-6c9f7d-abcde" if has_run else None,
    }
    return models.Execution(**known | more)


def runs(number: int, count: int) -> list[models.Execution]:
    every = list(State)
    return [
        run(number * 1000 + back, every[(back * 5 + 2) % 9] if back < 18 else State.SUCCEEDED) for back in range(count)
    ]


class Reads:
    """Answers from nothing but the number of a job."""

    def __init__(self) -> None:
        self.jobs_shown = 50
        self.broken: ProblemError | None = None
        self.leader: str | None = "scheduledjobs-6c9f7d-abcde"
        self.questions = 0

    def _ask(self) -> None:
        self.questions += 1
        if self.broken is not None:
            raise self.broken

    def _find(self, id: str) -> models.Job:
        for number in range(50):
            one = job(number)
            if id in (str(one.id), f"{one.namespace}.{one.name}"):
                return one
        raise ProblemError(404, "Not found", f"there is no job {id}", "NotFound")

    async def jobs(self, scope: Any, filters: Any) -> models.JobPage:
        self._ask()
        found = [job(number, filters.recent) for number in range(self.jobs_shown)]
        if filters.q:
            found = [one for one in found if filters.q in f"{one.namespace}/{one.name}"]
        if filters.state:
            found = [one for one in found if one.state == filters.state]
        return models.JobPage(items=found, next_cursor="abc")

    async def job(self, scope: Any, id: str) -> models.JobDetail:
        self._ask()
        one = self._find(id)
        spec = {"schedule": one.schedule, "timeZone": one.time_zone, "handler": one.handler}
        fires = [
            models.Fire(
                fire_time=NOW + back * 1440 * MINUTE,
                local=(NOW + (back * 1440 + 60) * MINUTE).replace(tzinfo=None).isoformat() + "+01:00",
                note="from here on +0100 instead of +0200" if back == 2 else None,
            )
            for back in range(1, 11)
        ]
        return models.JobDetail(
            **one.model_dump(),
            spec=spec | {"payload": {**PAYLOAD, "account": "098765432109"}, "retry": {"limit": 2}},
            created_at=NOW - timedelta(days=30),
            updated_at=NOW - timedelta(days=2),
            next_fire_times=fires if one.state is JobState.ACTIVE else [],
            executions=runs(self._number(one), 10),
        )

    async def row(self, scope: Any, id: str) -> dict[str, Any]:
        one = await self.job(scope, id)
        return {"spec": one.spec, "state": one.state, "anchor_at": None, "next_fire_at": one.next_fire_time}

    def _number(self, one: models.Job) -> int:
        return next(number for number in range(50) if job(number).id == one.id)

    async def executions(self, scope: Any, id: str, filters: Any) -> models.ExecutionPage:
        self._ask()
        return models.ExecutionPage(items=runs(self._number(self._find(id)), 50), next_cursor="abc")

    async def versions(self, scope: Any, id: str, filters: Any) -> models.Versions:
        self._ask()
        change = models.Change(field="spec.schedule", before="0 2 * * *", after="0 3 * * * <b>")
        return models.Versions(
            items=[
                models.Version(
                    version=version,
                    recorded_at=NOW - timedelta(days=9 - version),
                    effective_from=NOW - timedelta(days=9 - version),
                    by=HOSTILE if version == 2 else "kubectl",
                    state=JobState.ACTIVE,
                    spec={"schedule": "0 3 * * *", "handler": "log"},
                    changes=[change] if version > 1 else [],
                )
                for version in (3, 2, 1)
            ],
            next_cursor=None if filters.cursor else "abc",
        )

    async def why(self, scope: Any, id: str, at: datetime) -> models.Why:
        self._ask()
        return models.Why(lines=[f"{at} was due under version 1.", f"SKIPPED/Overlap: {HOSTILE}"])

    async def charts(self, scope: Any, id: str) -> models.JobCharts:
        self._ask()
        ran = [one for one in runs(self._number(self._find(id)), 200) if one.finished_at]
        heat = [
            models.HeatCell(
                start=NOW - timedelta(hours=back), succeeded=back % 5, failed=back % 17 == 0, not_run=back % 11 == 0
            )
            for back in range(1, 160)
        ]
        return models.JobCharts(runs=ran[::-1], heat=heat)

    async def execution(self, scope: Any, id: int) -> models.ExecutionDetail:
        self._ask()
        state = {1: State.RUNNING, 2: State.FAILED, 3: State.SKIPPED}.get(id % 1000, State.SUCCEEDED)
        if id // 1000 >= 50:
            raise ProblemError(404, "Not found", f"there is no execution {id}", "NotFound")
        due = run(id).fire_time
        tried = models.Attempt(
            attempt=1,
            state=State.FAILED,
            error=HOSTILE,
            traceback="Traceback\n" + HOSTILE,
            started_at=due + timedelta(milliseconds=20),
            finished_at=due + timedelta(seconds=1),
        )
        has_run = state is not State.SKIPPED
        return models.ExecutionDetail(
            **run(
                id, state, **({"started_at": due + timedelta(seconds=2)} if state is State.FAILED else {})
            ).model_dump(),
            payload=PAYLOAD,
            has_own_payload=id % 1000 == 2,
            result={"rows": 12, "text": HOSTILE} if state is State.SUCCEEDED else None,
            attempts=[tried] if state is State.FAILED else [],
            outputs=[models.Output(attempt=1, output=OUTPUT, truncated=True)] if has_run else [],
        )

    async def overview(self, scope: Any) -> models.Overview:
        self._ask()
        agenda = [
            models.Bucket(start=NOW + back * 15 * MINUTE, moments=(back * 7) % 23, most_at_once=(back * 3) % 8)
            for back in range(96)
        ]
        return models.Overview(
            now=NOW,
            leader=self.leader,
            versions=["0.7.0"] if self.leader else ["0.7.0", "0.8.0"],
            jobs={"ACTIVE": 35, "SUSPENDED": 5, "INVALID": 5, "COMPLETED": 5},
            due_next_hour=1234,
            running=7,
            failed=12,
            missed=3,
            is_day_cut=False,
            lateness_p99_ms=8.4,
            agenda=agenda,
            is_agenda_cut=False,
            failing=[job(number) for number in (3, 10, 17, 24)],
            failing_count=4,
            is_failing_cut=False,
        )

    async def cluster(self) -> models.Cluster:
        self._ask()
        replica = models.Replica(
            id=SPACE,
            hostname="scheduledjobs-6c9f7d-abcde",
            version="0.7.0",
            sight=models.Sight.ALIVE,
            started_at=NOW - timedelta(days=1),
            heartbeat_at=NOW,
            heartbeat_age_ms=300,
            is_leader=True,
            term=4,
            running=3,
            slots=20,
            handlers=["http", "log", "sql"],
            database_ms=1.2,
            loop_lag_ms=0.4,
        )
        others = [
            replica.model_copy(
                update={"id": uuid5(SPACE, name), "hostname": name, "sight": sight, "is_leader": False, "term": None}
            )
            for name, sight in (("late-one", models.Sight.LATE), ("dead-one", models.Sight.DEAD))
        ]
        terms = [
            models.Term(term=term, holder=f"replica-{term}", acquired_at=NOW - timedelta(hours=9 - term))
            for term in (4, 3)
        ]
        return models.Cluster(now=NOW, leader=self.leader, term=4, replicas=[replica, *others], terms=terms)

    async def timeline(self, scope: Any, filters: Any) -> models.Timeline:
        self._ask()
        lanes = [
            models.Lane(
                job=job(number, 0),
                past=[one for one in job(number).recent if one.fire_time > NOW - timedelta(days=1)],
                coming=[NOW + back * 60 * MINUTE for back in range(1, 20)],
                is_cut=number == 2,
            )
            for number in range(20)
        ]
        return models.Timeline(now=NOW, since=NOW - timedelta(days=1), until=NOW + timedelta(days=1), lanes=lanes)

    async def preview(self, **query: Any) -> models.Preview:
        fires = [
            models.Fire(fire_time=NOW + back * MINUTE, local=f"2026-11-24T18:{30 + back}:00+01:00")
            for back in range(10)
        ]
        return models.Preview(schedule="*/15 * * * *", time_zone="Europe/Berlin", words="Every 15 minutes", fires=fires)

    async def handlers(self) -> models.Handlers:
        schema = {"type": "object", "properties": {"message": {"type": "string"}}}
        return models.Handlers(
            items=[
                models.Handler(name="log", description="Log a line", is_async=True, payload_schema=schema, replicas=2)
            ]
        )


class Writes:
    """Remembers what was asked; `refusal` is raised instead, where it is set."""

    def __init__(self, reads: Reads) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.refusal: Exception | None = None
        self._reads = reads

    def _do(self, *what: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(what)

    async def run_now(self, caller: Caller, id: str, payload: Any, token: str | None) -> models.RunAnswer:
        self._do("run-now", id, payload, token)
        return models.RunAnswer(token=token or "made", job_id=UUID(id), execution=run(1001, State.RUNNING))

    async def pause(self, caller: Caller, id: str, until: str, reason: str) -> models.JobDetail:
        self._do("pause", id, until, reason)
        return await self._reads.job(None, id)

    async def resume(self, caller: Caller, id: str) -> models.JobDetail:
        self._do("resume", id)
        return await self._reads.job(None, id)

    async def delete(self, caller: Caller, id: str) -> None:
        self._do("delete", id)

    async def cancel(self, caller: Caller, execution_id: int) -> models.Execution:
        self._do("cancel", execution_id)
        return run(execution_id, State.CANCELLED)


class Auth:
    """Everybody may."""

    stale: datetime | None = None
    is_open = False
    signed_in = True

    async def caller(self, request: Any) -> Caller:
        if not self.signed_in:
            raise NotAuthenticated("sign in")
        return Caller("ada@example.com", token="t")

    async def scope(self, caller: Caller) -> None:
        return None

    async def may_now(self, caller: Caller, verb: str, namespace: str, name: str = "") -> bool:
        return True

    async def check_origin(self, request: Any) -> None:
        return None

    def stale_since(self, caller: Caller) -> datetime | None:
        return self.stale


def site() -> tuple[FastAPI, Any]:
    """Return the app, and its parts to turn: reads, writes, auth, hub."""
    reads = Reads()
    parts = SimpleNamespace(reads=reads, writes=Writes(reads), auth=Auth(), hub=Hub(lambda: 0.0))
    app = build(reads=parts.reads, writes=parts.writes, auth=parts.auth, hub=parts.hub, mount=ui.mount)
    return app, parts
