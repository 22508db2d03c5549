"""What the pages have to show: a job of every state in two namespaces, and a week of history, made by hand.

Names, payloads, messages, outputs and reasons of some are hostile. Jobs are applied like anybody's; what a week would
have brought is written as rows, in the shape in which the operator writes them.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
from dev.controlplane import ControlPlane
from psycopg.types.json import Jsonb

from scheduledjobs.store.partitions import ensure_days
from scheduledjobs.store.sessions import connect

FINANCE, SHOP = "finance", "shop"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>"
HOSTILE = f"{MARKUP}\x1b[31mred\x1b[0m \u202eevil\u202c '\"&amp;{{{{ 7*7 }}}}"
"""Markup, a colour of a terminal, a mark that turns text around, a template's own braces."""

FIELDS = "fire_time namespace job_name state reason duration_ms lateness_ms attempt trigger message handler started_at"
FIELDS += " finished_at job_id version claim_no claimed_by visible_at result last_fire_time moment_count"
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def jobs(now: datetime) -> Iterator[dict[str, Any]]:
    """Return the manifests; one that is applied as somebody else has that name as its annotation `as`."""
    yield _job(FINANCE, "nightly-report", schedule="0 2 * * *", timeZone="Europe/Berlin", payload={"message": "done"})
    yield _job(FINANCE, "sync-ledger", "helm", schedule="*/15 * * * *", payload={"message": "4,211 rows in step"})
    yield _job(FINANCE, "import-rates", fixedRate="30m", retry={"limit": 1, "backoff": "1s"}, payload=_FAILS)
    yield _job(FINANCE, "settle-batch", fixedRate="2h", retry={"limit": 5, "backoff": "10m"}, payload=_FAILS)
    yield _job(FINANCE, "send-digests", fixedRate="1h", payload={"message": "sent"})
    yield _job(FINANCE, "rotate-keys", schedule="0 4 * * 1", handler="vault-rotate")
    yield _job(
        FINANCE, "month-end", runAt=_text(now + timedelta(seconds=20)), payload={"message": "November is closed"}
    )
    yield _job(FINANCE, "reconcile", fixedDelay="3s", payload={"message": "began", "seconds": 3600})
    for hour, name in enumerate(("close-books", "dun-customers", "export-tax"), 3):
        yield _job(FINANCE, name, schedule=f"{hour * 10} {hour} * * 1-5", timeZone="Europe/Berlin")
    yield _job(
        SHOP, "price-feed", fixedRate="2m", concurrencyPolicy="Queue", payload={"message": "21", "seconds": 3600}
    )
    yield _job(SHOP, "prune-sessions", "flux", schedule="10 * * * *", payload={"message": "pruned"})
    yield _job(SHOP, "reindex", schedule="0,30 * * * *", suspend=True, payload={"message": "indexed"})
    yield _job(SHOP, "warm-cache", schedule="*/5 6-8 * * *", timeZone="America/New_York", payload={"message": "warm"})
    for hour, name in enumerate(("back-up-orders", "mail-invoices", "restock", "tidy-carts"), 19):
        yield _job(SHOP, name, schedule=f"{hour % 4 * 15} {hour},{hour - 14} * * *", payload={"message": "done"})
    yield _job(SHOP, "hostile", MARKUP, fixedRate="1h", payload={"message": HOSTILE})


_FAILS = {"message": "asking for rates", "fail": "ConnectionError: rates.example.org does not answer"}
_MANAGERS = {"helm": "helm", "flux": "kustomize-controller"}


def _job(namespace: str, name: str, manager: str = "kubectl", **spec: Any) -> dict[str, Any]:
    meta = {"namespace": namespace, "name": name, "annotations": {"as": manager}}
    return {
        "apiVersion": "scheduledjobs.dev/v1",
        "kind": "ScheduledJob",
        "metadata": meta,
        "spec": {"handler": "log", **spec},
    }


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def apply(cluster: ControlPlane) -> None:
    """Apply every job, each as who manages it, and pause one with a reason."""
    found = list(jobs(datetime.now(UTC)))
    for manager in sorted({job["metadata"]["annotations"]["as"] for job in found}):
        own = [job for job in found if job["metadata"]["annotations"]["as"] == manager]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": own})
        name = _MANAGERS.get(manager, manager)
        cluster.kubectl("apply", "--server-side", f"--field-manager={name}", "-f", "-", stdin=text)
    pause = {"paused-until": "forever", "paused-by": "jo@example.org", "pause-reason": "the mail server moves"}
    words = [f"scheduledjobs.dev/{key}={value}" for key, value in pause.items()]
    cluster.kubectl("annotate", "scheduledjob", "send-digests", "-n", FINANCE, *words)


def act(cluster: ControlPlane) -> None:
    """Run some now, one with a hostile payload and paused for a hostile reason; they must have been mirrored before."""
    payload = json.dumps({"message": HOSTILE, "fail": HOSTILE})
    words = ["run-now=attack", f"run-now-payload={payload}", "paused-until=forever", f"paused-by={HOSTILE}"]
    words = [f"scheduledjobs.dev/{word}" for word in [*words, f"pause-reason={HOSTILE}"]]
    cluster.kubectl("annotate", "scheduledjob", "hostile", "-n", SHOP, *words)
    for namespace, name in (
        (FINANCE, "settle-batch"),
        (FINANCE, "import-rates"),
        (SHOP, "price-feed"),
        (SHOP, "restock"),
    ):
        cluster.kubectl("annotate", "scheduledjob", name, "-n", namespace, "scheduledjobs.dev/run-now=seed")
    cluster.kubectl(
        "annotate", "scheduledjob", "price-feed", "-n", SHOP, "--overwrite", "scheduledjobs.dev/run-now=again"
    )


def fill(url: str, now: datetime) -> None:
    """Write what a week would have brought to the jobs, which are mirrored, and a job of old with a hostile name."""
    with ThreadPoolExecutor(1) as thread:  # Playwright may have an event loop in this one
        thread.submit(lambda: asyncio.run(_make_days(url, now))).result()
    with psycopg.connect(url, autocommit=True) as conn, conn.cursor() as cursor:
        ids = {row[0]: row[1] for row in cursor.execute("SELECT name, id FROM job_definition").fetchall()}
        replica = cursor.execute("SELECT id FROM scheduler_instance LIMIT 1").fetchone()
        assert replica is not None
        rows = list(_week(now, ids, replica[0]))
        ghost = uuid4()
        cursor.execute(_GHOST, {"id": ghost, "name": HOSTILE, "spec": Jsonb({"handler": HOSTILE, "schedule": HOSTILE})})
        rows.append(_row(ghost, HOSTILE, now - MINUTE, "FAILED", 12, replica[0], message=f"{HOSTILE}\n" * 3))
        names = FIELDS.split()
        holes = ", ".join(f"%({name})s" for name in names)
        cursor.executemany(f"INSERT INTO job_execution_log ({', '.join(names)}) VALUES ({holes})".encode(), rows)
        for statement in _OLDER:
            cursor.execute(statement.encode(), {"then": now - timedelta(days=31)})
        cursor.execute(_OUTPUTS, {"hostile": HOSTILE})


_GHOST = """
INSERT INTO job_definition (
    id, namespace, name, version, resource_version, spec, schedule_kind, handler, state, reason, message,
    effective_from, created_at, updated_at, deleted_at
) VALUES (
    %(id)s, 'shop', %(name)s, 1, 1, %(spec)s, NULL, %(name)s, 'DELETED', 'Deleted', %(name)s,
    now() - interval '9 days', now() - interval '9 days', now(), now()
)
"""
_OLDER = (
    "UPDATE job_definition SET created_at = %(then)s, updated_at = %(then)s",
    "UPDATE job_definition_version AS v SET recorded_at = %(then)s, effective_from = %(then)s"
    " WHERE seq = (SELECT min(seq) FROM job_definition_version WHERE job_id = v.job_id)",
)
_OUTPUTS = """
INSERT INTO job_execution_output (fire_time, execution_id, attempt, output)
SELECT fire_time, id, 1, CASE job_name WHEN 'sync-ledger' THEN
    E'\\x1b[32mINFO\\x1b[0m reading the ledger\\nINFO 4,211 rows, 0 differ\\nINFO done' ELSE %(hostile)s END
FROM job_execution_log WHERE finished_at < now() - interval '5 minutes'
ON CONFLICT DO NOTHING
"""


async def _make_days(url: str, now: datetime) -> None:
    async with connect(url, "test") as conn:
        await ensure_days(conn, (now - timedelta(days=30)).date(), now.date())


def _week(now: datetime, ids: dict[str, UUID], replica: UUID) -> Iterator[dict[str, Any]]:
    dice = random.Random(7)
    for name, every, count, weights in _PAST:
        at = now.replace(minute=0, second=0, microsecond=0) - every * count
        if name == "nightly-report":
            at = at.replace(hour=1)
        while at < now - 2 * MINUTE:
            state = dice.choices(_ENDS, weights)[0]
            if name == "import-rates" and at > now - timedelta(hours=2):
                state = "FAILED"
            yield _row(ids[name], name, at, state, int(dice.lognormvariate(7.2, 0.5)), replica)
            at += every


_ENDS = ["SUCCEEDED", "FAILED", "TIMED_OUT", "LOST", "CANCELLED", "SKIPPED", "MISSED"]
_GOOD = [90, 4, 1, 1, 1, 3, 1]
_PAST = (
    ("nightly-report", DAY, 30, [95, 5, 0, 0, 0, 0, 0]),
    ("sync-ledger", 15 * MINUTE, 4 * 24 * 7, _GOOD),
    ("import-rates", 30 * MINUTE, 48 * 7, [80, 15, 3, 2, 0, 0, 0]),
    ("send-digests", 60 * MINUTE, 24 * 7, _GOOD),
    ("prune-sessions", 60 * MINUTE, 24 * 7, _GOOD),
    ("reindex", 30 * MINUTE, 48 * 7, _GOOD),
)
_SHOP = {"prune-sessions", "reindex", HOSTILE}
_REASONS = {"SUCCEEDED": "Success", "SKIPPED": "Overlap", "MISSED": "TooLate", "LOST": "ReplicaDied"}
_MESSAGES = {
    "FAILED": "HTTPError: 502 Bad Gateway from ledger.example.org",
    "TIMED_OUT": "stopped after 10m",
    "LOST": "the replica scheduledjobs-a was declared dead",
    "SKIPPED": "the run before it goes on",
}


def _row(
    job: UUID, name: str, at: datetime, state: str, took: int, replica: UUID, message: str | None = None
) -> dict[str, Any]:
    has_run = state not in ("SKIPPED", "MISSED")
    late = 3 + took % 17
    begun = at + timedelta(milliseconds=late)
    return {
        **dict.fromkeys(FIELDS.split()),
        "fire_time": at,
        "namespace": SHOP if name in _SHOP else FINANCE,
        "job_name": name,
        "state": state,
        "reason": _REASONS.get(state, "Error"),
        "duration_ms": took if has_run else None,
        "lateness_ms": late if has_run else None,
        "attempt": int(has_run),
        "trigger": "SCHEDULE",
        "message": message or _MESSAGES.get(state),
        "handler": "log",
        "started_at": begun if has_run else None,
        "finished_at": begun + timedelta(milliseconds=took),
        "job_id": job,
        "version": 1,
        "claim_no": int(has_run),
        "claimed_by": replica if has_run else None,
        "visible_at": at if has_run else None,
        "result": Jsonb({"rows": took, "differ": 0}) if state == "SUCCEEDED" else None,
    }
