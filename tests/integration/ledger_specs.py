"""Specs that the ledger machine asks for, each with the oracle's own reading of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import hypothesis.strategies as st
from tests.oracle.ledger_oracle import CRONS, Rules, Stretch

PERIOD, DELAY = timedelta(seconds=13), timedelta(seconds=9)
SCHEDULE_FIELDS = ("schedule", "fixedRate", "fixedDelay", "runAt", "timeZone", "startTime", "endTime")
KINDS = st.sampled_from(
    [
        *CRONS,
        *["every 10 s", "rate", "delay", "once"] * 2,
        "past once",
        "window",
        "rate window",
        "rate until",
        "delay later",
    ]
)
POLICIES = st.sampled_from(["Forbid", "Allow", "Queue", "Replace"])
RULES = st.builds(
    Rules,
    misfire=st.sampled_from(["FireOnce", "FireAll", "Skip"]),
    limit=st.sampled_from([5, 2]),
    deadline=st.sampled_from([timedelta(hours=24), timedelta(minutes=30)]),
    jitter=st.sampled_from([timedelta(0), timedelta(seconds=3)]),
)


def schedule_of(kind: str, now: datetime) -> dict[str, Any]:
    """The schedule fields of a kind that is asked for now."""

    def later(seconds: int) -> str:
        return (now + timedelta(seconds=seconds)).isoformat()

    kinds: dict[str, dict[str, Any]] = {
        "rate": {"fixedRate": "13s"},
        "delay": {"fixedDelay": "9s"},
        "once": {"runAt": later(45)},
        "past once": {"runAt": later(-7200)},
        "window": {"schedule": "*/10 * * * * *", "startTime": later(15), "endTime": later(140)},
        "rate window": {"fixedRate": "13s", "startTime": later(20), "endTime": later(900)},
        "rate until": {"fixedRate": "13s", "endTime": later(900)},
        "delay later": {"fixedDelay": "9s", "startTime": later(40)},
    }
    fields = dict.fromkeys(SCHEDULE_FIELDS) | {"timeZone": "Etc/UTC"}
    return fields | (kinds[kind] if kind in kinds else CRONS[kind][0])


def stretch_of(spec: dict[str, Any], at: datetime) -> Stretch:
    """The oracle's own reading of a spec that is in force from `at` on."""
    start, end, run_at = (
        datetime.fromisoformat(spec[field]) if spec.get(field) else None for field in ("startTime", "endTime", "runAt")
    )
    made = Stretch(at, start=start, end=end, run_at=run_at)
    if spec.get("fixedRate"):
        made.period = PERIOD
    elif spec.get("fixedDelay"):
        made.delay = DELAY
    elif run_at is None:
        ((made.is_due, made.step),) = [(due, step) for fields, due, step in CRONS.values() if is_of(fields, spec)]
    return made


def is_of(fields: dict[str, Any], spec: dict[str, Any]) -> bool:
    return fields["schedule"] == spec["schedule"] and fields.get("timeZone", "Etc/UTC") == spec["timeZone"]


def fields_of(rules: Rules, policy: str) -> dict[str, Any]:
    """The fields of a spec that say these rules."""
    return {
        "misfire": {"policy": rules.misfire, "limit": rules.limit},
        "startingDeadline": f"{int(rules.deadline.total_seconds())}s",
        "jitter": f"{int(rules.jitter.total_seconds())}s",
        "concurrencyPolicy": policy,
    }
