"""What the leader says of jobs in events, and when: one function for each cause."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from scheduledjobs.core.job import Job, NewExecution
from scheduledjobs.core.notices import Recipients
from scheduledjobs.core.reasons import NEVER_RUN_STATES, JobState, Reason, State, camel
from scheduledjobs.core.requests import LONGEST_TOKEN
from scheduledjobs.core.resource import RUN_NOW, ResourceMeta
from scheduledjobs.core.status_of import cut, instant
from scheduledjobs.steps.announce import Announce
from scheduledjobs.steps.mirror_batch import Written

QUIET_ROWS = frozenset({(State.SKIPPED, Reason.SUSPENDED), (State.SKIPPED, Reason.NOT_READY)})
"""States and reasons of rows that the condition tells of already; not that of what was due before a suspension."""

REPLACED = "a newer run took its place before it began"


class Telling:
    """The events of one term; `meta(uid)` returns what is known of a job's resource, or None."""

    def __init__(self, announce: Announce, recipients: Recipients, meta: Callable[[UUID], ResourceMeta | None]) -> None:
        self._announce = announce
        self._recipients = recipients
        self._meta = meta

    def tell_written(self, written: Written) -> None:
        """Say what has become of jobs that were mirrored, and of the runs that were asked for."""
        for uid, (resource, plan) in written.jobs.items():
            before = written.before.get(uid)
            if before is None or before["state"] != plan.state or before["reason"] != plan.reason:
                self._tell_state(resource.meta, plan.state, plan.reason, plan.message, before)
            if len(resource.meta.annotations.get(RUN_NOW, "")) > LONGEST_TOKEN:
                note = f"the token of run-now is longer than {LONGEST_TOKEN} characters: nothing is run"
                self._announce.say(resource.meta, Reason.RUN_REQUESTED, note)
            if problem := self._recipients.problem(resource.meta.namespace, resource.meta.annotations):
                self._announce.say(resource.meta, Reason.INVALID_NOTIFY, problem)
        for request in written.requests:
            row = request.execution
            note = f"run-now {request.token}: {row.message or 'an execution was recorded'}"
            self._announce.say(request.resource.meta, Reason.RUN_REQUESTED, note, warning=row.state is State.SKIPPED)
            self._tell_replaced(request.resource.meta.uid, row)

    def _tell_state(
        self, meta: ResourceMeta, state: JobState, reason: Reason, message: str, before: Mapping[str, Any] | None
    ) -> None:
        if state is JobState.INVALID:
            self._announce.say(meta, reason, message)
        elif state is JobState.SUSPENDED:
            self._announce.say(meta, reason, message, warning=reason is Reason.INVALID_PAUSE)
        elif before is not None and before["state"] == JobState.SUSPENDED:
            self._announce.say(meta, Reason.RESUMED, "moments are fired again from now on", warning=False)

    def tell_inserted(self, job: Job, row: NewExecution) -> None:
        """Say that moments were not run, unless the condition says so already, and what was skipped for one."""
        self._tell_replaced(job.id, row)
        if row.state in NEVER_RUN_STATES:
            self._tell_never_run(job.id, row)

    def tell_closed(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Say which executions were closed while they waited, as end_waiting returns them; the status tells of those
        that had begun."""
        for row in rows:
            if row["state"] in NEVER_RUN_STATES:
                state, reason = State(row["state"]), Reason(row["reason"])
                closed = NewExecution(row["fire_time"], state, reason, message=row["message"])
                self._tell_never_run(row["job_id"], closed)

    def _tell_replaced(self, uid: UUID, row: NewExecution) -> None:
        for fire_time in row.replaced:
            self._tell_never_run(uid, NewExecution(fire_time, State.SKIPPED, Reason.REPLACED, message=REPLACED))

    def _tell_never_run(self, uid: UUID, row: NewExecution) -> None:
        meta = self._meta(uid)
        if meta is None or row.reason is None or (row.state, row.reason) in QUIET_ROWS:
            return
        what = "skipped" if row.state is State.SKIPPED else "missed"
        count = row.moment_count or 1
        which = f"{count} moments from" if count > 1 else "the moment"
        note = f"{which} {row.fire_time.isoformat()} {what}: {row.message or row.reason}"
        self._announce.say(meta, row.reason, note)

    def tell_failure(self, meta: ResourceMeta, row: Mapping[str, Any]) -> None:
        """Say how the newest run of a job ended, which failed; `row` is one of store.status.load_status."""
        reason = Reason(row["last_run_reason"] or Reason.ERROR)
        message, fire_time = cut(row["last_run_message"]) or reason, instant(row["last_run_fire_time"])
        note = f"{camel(row['last_run_state'])}: {message} (fire time {fire_time})"
        self._announce.say(meta, reason, note)
