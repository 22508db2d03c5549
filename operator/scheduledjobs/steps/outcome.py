"""Outcome: what follows once endings are in the log: metrics, a line for each failure, and who is to be woken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set

import structlog

from scheduledjobs import metrics
from scheduledjobs.core.reasons import FAILURE_STATES, ScheduleKind, State, camel
from scheduledjobs.core.spec import ConcurrencyPolicy, MisfirePolicy
from scheduledjobs.handlers.assignment import Assignment, Ending
from scheduledjobs.logs import Seldom
from scheduledjobs.steps.specs import Specs

log = structlog.get_logger(__name__)

HOLDING = frozenset({ConcurrencyPolicy.QUEUE, ConcurrencyPolicy.REPLACE})


class Outcome:
    """The outcomes of one replica."""

    def __init__(
        self,
        specs: Specs,
        on_freed: Callable[..., None],
        on_awaited: Callable[[], None],
        on_changed: Callable[[], None],
    ) -> None:
        """`on_freed(is_more=)` is called for slots that became free, `on_awaited` for ends that a held row waits for,
        `on_changed` for each batch that the log has taken."""
        self._specs = specs
        self._on_freed = on_freed
        self._on_awaited = on_awaited
        self._on_changed = on_changed
        self._failures = Seldom()

    def written(self, endings: Sequence[Ending], stale: Sequence[Ending], retried: Set[int]) -> None:
        """These were to be written: `stale` came too late to count; the ids in `retried` wait for another attempt."""
        self._on_freed(is_more=bool(retried))
        self._on_changed()
        metrics.STALE.inc(len(stale))
        discarded = {ending.assignment.key for ending in stale}
        for ending in endings:
            assignment = ending.assignment
            if assignment.key in discarded or ending.state is State.PENDING:  # handed over: it goes on elsewhere
                continue
            if assignment.id in retried:
                metrics.RETRIES.labels(handler=assignment.handler).inc()
                continue
            metrics.executions(assignment.handler, camel(ending.state)).inc()
            took = (ending.finished_at - ending.started_at).total_seconds()
            metrics.duration(assignment.handler).observe(took)
            if not assignment.run_key and assignment.attempt == 1:
                lateness = (ending.started_at - assignment.due_at).total_seconds()
                metrics.lateness(assignment.handler).observe(lateness)
            if ending.state in FAILURE_STATES and (unsaid := self._failures.ask(assignment.job_id)) is not None:
                log.warning(
                    "execution failed",
                    namespace=assignment.namespace,
                    job=assignment.job_name,
                    fire_time=assignment.fire_time.isoformat(),
                    execution_id=assignment.id,
                    attempt=assignment.attempt,
                    trigger=assignment.trigger,
                    handler=assignment.handler,
                    state=ending.state,
                    reason=ending.reason,
                    error=ending.message,
                    suppressed=unsaid,
                )
        self._tell_awaited(ending.assignment for ending in endings)

    def returned(self, assignments: Sequence[Assignment], retried: Set[int]) -> None:
        """The log knows that the abandoned code of these has returned."""
        self._on_changed()
        for assignment in assignments:
            if assignment.id in retried:
                metrics.RETRIES.labels(handler=assignment.handler).inc()
        self._tell_awaited(assignments)

    def _tell_awaited(self, ended: Iterable[Assignment]) -> None:
        if any(self._is_awaited(assignment) for assignment in ended):
            self._on_awaited()

    def _is_awaited(self, assignment: Assignment) -> bool:
        known = self._specs.known(assignment.job_id, assignment.version)
        if known is None:
            return False
        spec, schedule = known
        holds = spec.concurrency_policy in HOLDING or spec.misfire.policy is MisfirePolicy.FIRE_ALL
        return holds or schedule.kind is ScheduleKind.FIXED_DELAY
