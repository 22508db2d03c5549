"""The reference of states, reasons, conditions and events: `python -m dev.states_docs` writes it.

The words are the enums of the code; what each means is said here, once. A word without its sentence is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from dev.markdown import table
from scheduledjobs.core.reasons import JobState, Reason, Refusal, ScheduleKind, State, Trigger, camel

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "states.md"
HEAD = """# States, reasons, conditions, events

Each word means one thing, in SQL, in the custom resource, in REST, in metrics and in events. SQL writes states in
capitals (`TIMED_OUT`), the resource in CamelCase (`TimedOut`). Made from the code by `make docs`. Which rules lead to
them: [semantics](../explanation/semantics.md).
"""

STATES: Mapping[State, str] = {
    State.PENDING: "waits to be claimed: for a slot, for its next attempt, or held (`visible_at` is infinity)",
    State.RUNNING: "a replica has claimed it and runs its handler",
    State.SUCCEEDED: "the handler returned",
    State.FAILED: "the last attempt raised",
    State.TIMED_OUT: "the last attempt took longer than `timeout`",
    State.CANCELLED: "stopped, or never started, because somebody or a newer run said so",
    State.LOST: "its replica died, stopped or lost its trust while it ran: how far it came is not known",
    State.SKIPPED: "was decided not to run",
    State.MISSED: "was too late to run",
}
JOB_STATES: Mapping[JobState, str] = {
    JobState.ACTIVE: "its moments are fired",
    JobState.SUSPENDED: "its moments are skipped, by `spec.suspend` or a pause",
    JobState.INVALID: "its spec cannot work: it has no moments, or they are skipped as NotReady",
    JobState.COMPLETED: "no fire time is left; an edit that brings one makes it ACTIVE",
    JobState.DELETED: "its resource is gone, or nobody watches its namespace; kept with its history for the retention",
}
TRIGGERS: Mapping[Trigger, str] = {
    Trigger.SCHEDULE: "a moment of the schedule",
    Trigger.MANUAL: "a run-now",
    Trigger.CATCH_UP: "a moment that the misfire policy makes up",
}
KINDS: Mapping[ScheduleKind, str] = {
    ScheduleKind.CRON: "`schedule`: the moments that a cron expression names in a time zone",
    ScheduleKind.FIXED_RATE: "`fixedRate`: a grid of moments, whatever the runs take",
    ScheduleKind.FIXED_DELAY: "`fixedDelay`: a moment some time after the end of the run before",
    ScheduleKind.ONE_SHOT: "`runAt`: one moment",
}
REASONS: Mapping[Reason, tuple[str, str]] = {
    Reason.SCHEDULED: ("Ready=True", "moments are fired as they come"),
    Reason.SUSPENDED: (
        "Ready=True; SKIPPED; MISSED",
        "suspended by the spec or a pause; MISSED: was due before a suspension, and too late to fire",
    ),
    Reason.COMPLETED: ("Ready=True", "no fire time is left"),
    Reason.INVALID_PAUSE: ("Ready=True", "the pause cannot be read, so the job is paused until it can"),
    Reason.INVALID_SCHEDULE: ("Ready=False", "the schedule cannot be read: it has no moments"),
    Reason.INVALID_SPEC: (
        "Ready=False; FAILED",
        "fields that do not go together; FAILED: the replica that claimed it cannot read the spec, as after an upgrade",
    ),
    Reason.UNKNOWN_TIME_ZONE: ("Ready=False", "not a name of the IANA database: it has no moments"),
    Reason.HANDLER_NOT_FOUND: ("Ready=False", "no live replica has the handler"),
    Reason.INVALID_PAYLOAD: (
        "Ready=False; SKIPPED; FAILED",
        "the payload, or that of a run-now, does not fit the handler",
    ),
    Reason.FIRE_FAILED: (
        "Ready=False",
        "the job cannot be read by this version, or the database refuses its rows; tried again within 5 minutes",
    ),
    Reason.QUOTA_EXCEEDED: ("Ready=False", "the job and older ones are more than its namespace may have"),
    Reason.QUEUED: ("PENDING", "held until the run before it has ended"),
    Reason.REPLACING: ("PENDING", "held until the run that it replaces has stopped"),
    Reason.CATCHING_UP: ("PENDING", "held until its turn among the moments that are made up"),
    Reason.RETRYING: ("PENDING", "waits for its next attempt"),
    Reason.HANDED_OVER: (
        "PENDING; RUNNING",
        "its replica has gone and its work goes on, for the next replica that can read it to watch; "
        "RUNNING: that one does",
    ),
    Reason.OVERLAP: ("SKIPPED", "another run had not ended (`blocked_by`)"),
    Reason.QUEUE_FULL: ("SKIPPED", "one was waiting already (`blocked_by`)"),
    Reason.REPLACED: ("SKIPPED; CANCELLED", "a newer run took its place"),
    Reason.NOT_READY: ("SKIPPED", "the job could not run: see its condition"),
    Reason.PRESENT_AT_CREATION: ("SKIPPED", "the run-now token was there when the job was first seen"),
    Reason.COALESCED: ("MISSED", "one later run stands for it (FireOnce)"),
    Reason.OVER_LIMIT: ("MISSED", "more were missed than `misfire.limit`"),
    Reason.TOO_LATE: ("MISSED", "later than `misfire.grace` (Skip)"),
    Reason.STARTING_DEADLINE_EXCEEDED: ("MISSED", "not started within `startingDeadline`"),
    Reason.IN_THE_PAST: ("MISSED", "a one-shot before its own creation"),
    Reason.EDITED: ("MISSED", "was due before an edit, and too late to fire"),
    Reason.DELETED: ("MISSED", "was due before the job was deleted"),
    Reason.JOB_DELETED: ("CANCELLED", "the job was deleted before it ran"),
    Reason.CANCEL_REQUESTED: ("CANCELLED", "somebody cancelled it"),
    Reason.ERROR: ("FAILED", "the handler raised"),
    Reason.PERMANENT_ERROR: ("FAILED", "the handler said that trying again is no use"),
    Reason.SUPERSEDED_BY_NEXT_FIRE: ("FAILED", "the next run came while it waited to be retried"),
    Reason.TIMEOUT_EXCEEDED: ("TIMED_OUT", "longer than `timeout`"),
    Reason.RESTORED: (
        "MISSED; LOST; SKIPPED",
        "the database was restored from a backup, and this may have run already: see [restore](../howto/restore.md)",
    ),
    Reason.REPLICA_DIED: ("LOST", "its replica died, or no replica went on with it"),
    Reason.DRAINED: ("LOST", "its replica stopped, and it did not end within the grace"),
    Reason.TRUST_LOST: ("LOST", "its replica could not reach the database"),
    Reason.SUCCESS: ("SUCCEEDED", "the handler returned"),
    Reason.RUN_REQUESTED: ("event", "a run-now was recorded"),
    Reason.RESUMED: ("event", "moments are fired again"),
    Reason.INVALID_NOTIFY: ("event", "the annotations of notices ask for what cannot be; the job runs all the same"),
}
REFUSALS: Mapping[Refusal, str] = {
    Refusal.RUN_REQUEST_PENDING: "another run-now is not recorded yet: the annotation holds one at a time",
    Refusal.RUN_REQUEST_DIFFERS: "the same token was asked for with another payload: take another token",
    Refusal.SUSPENDED_BY_SPEC: "`spec.suspend` is true: a resume ends a pause only; edit the manifest",
    Refusal.INVALID_PAUSE: "the end of the pause cannot be read, or lies in the past",
    Refusal.INVALID_TOKEN: "the token of a run-now is empty or too long",
    Refusal.INVALID_PAYLOAD: "the payload of a run-now is no JSON object, or too large",
}
HEALTHY = {
    "Unknown": ("NotRunYet", "no execution has ended yet"),
    "True": (camel(State.SUCCEEDED), "the last execution that ran succeeded"),
    "False": (
        ", ".join(camel(state) for state in (State.FAILED, State.TIMED_OUT, State.LOST)),
        "the last execution that ran did not",
    ),
}
EVENTS = [
    ("Warning", "each reason of Ready=False", "the spec cannot work, or the job cannot be fired"),
    ("Warning", "each reason of MISSED, and of SKIPPED but Suspended and NotReady", "a moment did not run"),
    ("Warning", "each reason of FAILED, TIMED_OUT and LOST", "an execution ended so"),
    ("Warning", "InvalidPause", "the pause cannot be read"),
    ("Normal", "Suspended, Resumed", "by the spec or a pause"),
    ("Normal", "RunRequested", "a run-now was recorded; Warning where its token is too long or its run was skipped"),
]
Word = TypeVar("Word", bound=StrEnum)


def page() -> str:
    """Return the page; `KeyError` for a word that has no sentence."""
    lines = [
        HEAD,
        *_words("States of an execution", "Column `state` of `job_execution_log`.", State, STATES),
        *_words("States of a job", "Column `state` of `job_definition`.", JobState, JOB_STATES),
        *_words("Triggers", "Column `trigger` of `job_execution_log`.", Trigger, TRIGGERS),
        *_words("Kinds of schedule", "Column `schedule_kind` of `job_definition`.", ScheduleKind, KINDS),
        "## Reasons",
        "",
        "Why a row, a condition or an event says what it says.",
        "",
        *table(["reason", "where", "means"], ((reason, *REASONS[reason]) for reason in _as_told(Reason))),
        *_conditions(),
        *_events(),
        *_words(
            "Refusals", "`reason` of the problem that REST answers, and of what the commands say.", Refusal, REFUSALS
        ),
    ]
    return "\n".join(lines).rstrip() + "\n"


def where(reason: Reason) -> list[str]:
    """Return the states, conditions and the like that a reason comes with."""
    return REASONS[reason][0].split("; ")


def _as_told(words: Iterable[Reason]) -> list[Reason]:
    """Return the reasons in the order of this page; those that it lacks last, to be missed there."""
    order = list(REASONS)
    return sorted(words, key=lambda word: order.index(word) if word in REASONS else len(order))


def _words(title: str, about: str, words: type[Word], told: Mapping[Word, str]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield about
    yield ""
    yield from table(["word", "means"], ([f"`{word}`", told[word]] for word in words))


def _conditions() -> Iterator[str]:
    yield "## Conditions"
    yield ""
    yield "`status.conditions`, in the form of `metav1.Condition`; set when the job is first seen."
    yield ""
    rows = [
        ("Ready", status, ", ".join(reason for reason in REASONS if f"Ready={status}" in where(reason)), said)
        for status, said in {"True": "accepted, and being scheduled", "False": "no handler can be started"}.items()
    ]
    rows += [("Healthy", status, *told) for status, told in HEALTHY.items()]
    rows.append(("Stalled", "True", "as Ready=False, but FireFailed", "the spec cannot work, until it is edited"))
    rows.append(("Stalled", "False", "NotStalled", "the spec can work"))
    yield from table(["condition", "status", "reason", "means"], rows)
    yield "`Ready` never tells how the last run went; `Healthy` does, but for those that were cancelled or never ran"
    yield "([why](../decisions/0036-healthy-goes-by-what-ran.md))."
    yield ""


def _events() -> Iterator[str]:
    yield "## Events"
    yield ""
    yield "`events.k8s.io/v1`, about the ScheduledJob; at most one for each job, type and reason in a minute, which"
    yield "counts those that were left out. None tells of a success."
    yield ""
    rows: list[Any] = EVENTS
    yield from table(["type", "reason", "when"], rows)


if __name__ == "__main__":
    PAGE.write_text(page())
