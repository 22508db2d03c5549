"""Changes of jobs that a scenario makes in the middle of its fault, and how late the load's runs were meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.acceptance.conftest import job, until
from tests.faults.stage import Stage

HEALED_SECONDS = 10.0
LEASE_SECONDS = 5.0
FOREVER = "2099-01-01T00:00:00Z"
WHAT = ("edited", "paused", "deleted")
LATENESS = """
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY lateness_ms) AS p50,
    percentile_disc(0.99) WITHIN GROUP (ORDER BY lateness_ms) AS p99, max(lateness_ms) AS most, count(*) AS runs
FROM job_execution_log
WHERE run_key = '' AND started_at IS NOT NULL AND fire_time BETWEEN %s AND %s
    AND split_part(job_name, '-', 1) IN ('fine', 'forbid', 'allow', 'cron', 'again', 'delay', 'thread')
"""


def load(stage: Stage) -> None:
    """Create the load and wait until it runs."""
    stage.load()
    until(lambda: stage.count("state = 'SUCCEEDED'") > 40)


def lateness(stage: Stage, since: datetime, upto: datetime) -> dict[str, int]:
    """Return how late the runs of a time were started, in milliseconds; those that may be held wait by design."""
    return stage.row(LATENESS, since, upto)


def add(stage: Stage, *kinds: str) -> None:
    """Create jobs that are due once a day: for each kind one to edit, one to pause, and one to delete."""
    stage.create([job(f"{kind}-{what}", fixedRate="24h") for kind in kinds for what in WHAT])
    count = "SELECT count(*) AS n FROM job_definition WHERE spec->>'fixedRate' = '24h'"
    until(lambda: stage.row(count)["n"] == len(kinds) * len(WHAT))


def set_rate(stage: Stage, name: str, rate: str) -> None:
    """Edit a job."""
    patch = json.dumps({"spec": {"fixedRate": rate}})
    stage.cluster.kubectl("patch", "sjob", name, "-n", stage.namespace, "--type=merge", "-p", patch)


def change(stage: Stage, kind: str) -> None:
    """Edit a job, pause one by annotation, delete one."""
    kubectl, where = stage.cluster.kubectl, ("-n", stage.namespace)
    set_rate(stage, f"{kind}-edited", "23h")
    kubectl("annotate", "sjob", f"{kind}-paused", *where, f"scheduledjobs.dev/paused-until={FOREVER}")
    kubectl("delete", "sjob", f"{kind}-deleted", *where)


def mirrored(stage: Stage, kind: str) -> dict[str, tuple[Any, ...]]:
    """Return version and state of the jobs of a kind."""
    rows = stage.rows("SELECT name, version, state FROM job_definition WHERE name LIKE %s", f"{kind}-%")
    return {row["name"].removeprefix(f"{kind}-"): (row["version"], row["state"]) for row in rows}


def is_mirrored(stage: Stage, kind: str) -> bool:
    """Return whether all three changes are in the mirror."""
    return mirrored(stage, kind) == {"edited": (2, "ACTIVE"), "paused": (1, "SUSPENDED"), "deleted": (1, "DELETED")}


def is_unseen(stage: Stage, kind: str) -> bool:
    """Return whether none of them is: the fault holds."""
    return set(mirrored(stage, kind).values()) == {(1, "ACTIVE")}


def logged(stage: Stage) -> str:
    """Return all that the replicas have logged."""
    return "".join(log.read_text() for log in stage.folder.glob("*.log"))


def seconds_until(is_so: Callable[[], bool], most: float = HEALED_SECONDS) -> float:
    """Return how long it takes until something is so."""
    began = time.monotonic()
    until(is_so, most)
    return time.monotonic() - began
