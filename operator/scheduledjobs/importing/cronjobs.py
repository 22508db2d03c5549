"""A batch/v1 CronJob as a ScheduledJob with the handler kubernetes-job.

Source of what a CronJob does: the CronJob controller of Kubernetes and robfig/cron, as of Kubernetes 1.37.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from scheduledjobs.core.cron import MACROS, parse_cron
from scheduledjobs.core.duration import format_duration
from scheduledjobs.core.schedule import Cron
from scheduledjobs.core.spec import DAY, LEAP_YEAR, SECOND, ConcurrencyPolicy
from scheduledjobs.core.zone import zone_names
from scheduledjobs.errors import SpecError
from scheduledjobs.importing.clock import Clocks, clock_notes
from scheduledjobs.importing.crontab import Robfig, read_robfig
from scheduledjobs.importing.imported import (
    CannotImport,
    Difference,
    Imported,
    Note,
    imported,
    is_namespace,
    refusal,
    refused,
)
from scheduledjobs.importing.job_template import Refusals, read_template
from scheduledjobs.importing.values import whole_number

HANDLER = "kubernetes-job"
DEFAULT_LIMITS = (3, 1)
MANAGED = (
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "argocd.argoproj.io/instance",
    "helm.sh/chart",
)
"""Labels that say who manages the CronJob, which does not manage the ScheduledJob: Argo CD deletes what has its label
and is not in its repository. Annotations are not kept at all."""

SLOW_SECONDS = 10
"""The CronJob controller looks about so often: a deadline below can miss every moment."""

MACRO_NAMES = ", ".join(MACROS)


def read_cronjob(raw: Mapping[str, Any], default_zone: str | None, now: datetime, refusals: Refusals) -> Imported:
    """Return what becomes of a CronJob, as the API server or a file has it.

    `default_zone` is the zone of kube-controller-manager, for a CronJob that names none; None: UTC is supposed.
    `refusals` says what the handler refuses of a payload.
    """
    metadata, spec = _mapping(raw.get("metadata")), _mapping(raw.get("spec"))
    name, namespace = str(metadata.get("name") or "cronjob"), metadata.get("namespace") or None
    origin = f"CronJob {namespace}/{name}" if namespace else f"CronJob {name}"
    if namespace is not None and not is_namespace(namespace):
        return refused(origin, name, None, f"metadata.namespace {namespace!r} is no name that a namespace can have")
    notes: list[Note] = []
    try:
        timing = _timing(raw, spec, default_zone, now, notes)
        rest = {**_suspension(spec, notes), **_policy(spec, notes), **_deadline(spec, notes)}
        template = _mapping(spec.get("jobTemplate"))
        payload, timeout = read_template(template, refusals, notes)
    except CannotImport as error:
        return refused(origin, name, namespace, str(error))
    except SpecError as error:
        return refused(origin, name, namespace, refusal(error))
    _history(spec, _mapping(template.get("spec")), notes)
    made = {**timing, "handler": HANDLER, "payload": payload, **rest, **({"timeout": timeout} if timeout else {})}
    labels = {key: value for key, value in _mapping(metadata.get("labels")).items() if key not in MANAGED}
    return imported(origin, name, namespace, made, notes, labels)


def _timing(
    raw: Mapping[str, Any], spec: Mapping[str, Any], default_zone: str | None, now: datetime, notes: list[Note]
) -> dict[str, Any]:
    text = str(spec.get("schedule") or "")
    read = read_robfig(text)
    if read.period is not None:
        return _interval(text, read.period, raw, spec, notes)
    assert read.expression is not None  # noqa: S101 the one or the other
    if read.expression.startswith("@") and read.expression not in MACROS:
        raise CannotImport(f"schedule '{text}' is none of {MACRO_NAMES}: a CronJob with it never ran")
    zone = _zone(read, spec, default_zone, notes)
    parsed = parse_cron(read.expression)
    if parsed.days and parsed.weekdays:
        sentence = "either day field matches, in both; a CronJob and a ScheduledJob fire on the same days"
        notes.append(Note(Difference.DAY_FIELDS, sentence))
    notes += clock_notes(Cron(read.expression, zone), Clocks.ROBFIG, now)
    return {"schedule": read.expression, "timeZone": zone}


def _zone(read: Robfig, spec: Mapping[str, Any], default_zone: str | None, notes: list[Note]) -> str:
    named = spec.get("timeZone") or read.zone
    if read.zone:
        notes.append(Note(Difference.TIME_ZONE, f"the zone {read.zone} stood in the schedule, and is in timeZone now"))
    if named and named != "Local":
        return _known(str(named))
    if default_zone:
        notes.append(Note(Difference.TIME_ZONE, f"the CronJob names none: {default_zone}, as --default-time-zone says"))
        return default_zone
    sentence = (
        "the CronJob names none, so kube-controller-manager's own zone counts, which the API does not tell: UTC is "
        "supposed here; --default-time-zone names another"
    )
    notes.append(Note(Difference.TIME_ZONE, sentence))
    return "Etc/UTC"


def _known(zone: str) -> str:
    """Return the IANA name of a zone: Kubernetes reads files, and on some systems whatever the letters' case."""
    if zone in zone_names():
        return zone
    for name in zone_names():
        if name.lower() == zone.lower():
            return name
    raise CannotImport(f"timeZone {zone!r} is not in the IANA time zone database")


def _interval(
    text: str, period: timedelta, raw: Mapping[str, Any], spec: Mapping[str, Any], notes: list[Note]
) -> dict[str, Any]:
    if period > LEAP_YEAR:
        raise CannotImport(f"schedule '{text}': fixedRate is at most 8784h")
    last = _mapping(raw.get("status")).get("lastScheduleTime") or _mapping(raw.get("metadata")).get("creationTimestamp")
    if spec.get("timeZone"):
        notes.append(Note(Difference.TIME_ZONE, "an interval has no time zone"))
    if last is None:
        notes.append(Note(Difference.GRID, f"'{text}' counts from the creation of the ScheduledJob"))
        return {"fixedRate": format_duration(period)}
    notes.append(Note(Difference.GRID, f"'{text}' counts on from {last}, the CronJob's last run or its creation"))
    return {"fixedRate": format_duration(period), "startTime": _text(last)}


def _suspension(spec: Mapping[str, Any], notes: list[Note]) -> dict[str, Any]:
    if not spec.get("suspend"):
        return {}
    sentence = "when it is resumed, the newest moment that was skipped does not run, as a CronJob's does"
    notes.append(Note(Difference.SUSPENDED, sentence))
    return {"suspend": True}


def _policy(spec: Mapping[str, Any], notes: list[Note]) -> dict[str, Any]:
    policy = str(spec.get("concurrencyPolicy") or "Allow")
    if policy == "Forbid":
        sentence = (
            "a CronJob starts the newest moment that was in the way once the run before it has ended; Forbid here "
            "records it as Skipped and never starts it late; Queue does"
        )
        notes.append(Note(Difference.CONCURRENCY, sentence))
    if policy == "Replace":
        sentence = (
            "the new run starts when the replaced Job is gone, which a CronJob does not wait for; the old one is "
            "recorded as Cancelled with reason Replaced"
        )
        notes.append(Note(Difference.CONCURRENCY, sentence))
    return {"concurrencyPolicy": ConcurrencyPolicy(policy).value if policy in set(ConcurrencyPolicy) else policy}


def _deadline(spec: Mapping[str, Any], notes: list[Note]) -> dict[str, Any]:
    given = spec.get("startingDeadlineSeconds")
    if given is None:
        sentence = (
            "the CronJob has none: it starts its newest missed moment however late, and warns of more than 100; "
            "here one over 24h late is recorded as Missed. startingDeadline sets another limit"
        )
        notes.append(Note(Difference.DEADLINE, sentence))
        return {}
    seconds, longest = whole_number(given, "startingDeadlineSeconds"), LEAP_YEAR // SECOND
    kept = timedelta(seconds=min(max(seconds, 1), longest))
    if seconds < SLOW_SECONDS:
        sentence = f"{seconds} s is less than the CronJob controller's own pace, so it may never have run; here it will"
        notes.append(Note(Difference.DEADLINE, sentence))
    if seconds > longest:
        notes.append(Note(Difference.DEADLINE, f"{seconds} s is more than the 8784h that are allowed"))
    return {} if kept == DAY else {"startingDeadline": format_duration(kept)}


def _history(spec: Mapping[str, Any], job: Mapping[str, Any], notes: list[Note]) -> None:
    limits = (spec.get("successfulJobsHistoryLimit", 3), spec.get("failedJobsHistoryLimit", 1))
    if limits == DEFAULT_LIMITS:
        return
    kept = "by ttlSecondsAfterFinished" if "ttlSecondsAfterFinished" in job else "by a default ttlSecondsAfterFinished"
    sentence = (
        f"the limits of kept Jobs ({limits[0]} successful, {limits[1]} failed) have no equivalent: Jobs go {kept}, the "
        "history is in job_execution_log for the retention"
    )
    notes.append(Note(Difference.HISTORY, sentence))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(moment: object) -> str:
    """Return an instant as text: YAML reads one without quotes as a time."""
    if isinstance(moment, datetime):
        return moment.isoformat().replace("+00:00", "Z")
    return str(moment)
