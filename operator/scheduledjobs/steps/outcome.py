"""Outcome: what follows once endings are in the log: metrics, a line for each failure, and who is to be woken."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence, Set

import structlog

from scheduledjobs import metrics
from scheduledjobs.core.reasons import FAILURE_STATES, State, camel
from scheduledjobs.handlers.assignment import Assignment, Ending
from scheduledjobs.logs import Seldom

log = structlog.get_logger(__name__)


class Outcome:
    """The outcomes of one replica."""

    def __init__(
        self,
        on_freed: Callable[..., None],
        on_awaited: Callable[[], None],
        on_changed: Callable[[], None],
    ) -> None:
        """`on_freed(is_more=)` is called for slots that became free, `on_awaited` for ends that a held row waits for,
        `on_changed` for each batch that the log has taken."""
        self._on_freed = on_freed
        self._on_awaited = on_awaited
        self._on_changed = on_changed
        self._failures, self._left = Seldom(), Seldom()

    def written(self, endings: Sequence[Ending], stale: Sequence[Ending], retried: Set[int]) -> None:
        """These were to be written: `stale` came too late to count; the ids in `retried` wait for another attempt."""
        self._on_freed(is_more=bool(retried))
        self._on_changed()
        metrics.STALE.inc(len(stale))
        discarded = {ending.assignment.key for ending in stale}
        ended: defaultdict[str, list[Ending]] = defaultdict(list)
        for ending in endings:
            assignment = ending.assignment
            if assignment.key in discarded:
                continue
            if ending.state is State.PENDING:  # handed over: it goes on elsewhere
                if ending.retry_after is not None:
                    self._say_left(ending)
                continue
            if assignment.id in retried:
                metrics.RETRIES.labels(handler=assignment.handler).inc()
                continue
            ended[assignment.handler].append(ending)
            if ending.state in FAILURE_STATES:
                self._say_failed(ending)
        for handler, batch in ended.items():
            _count(handler, batch)
        self._tell_awaited(ending.assignment for ending in endings)

    def returned(self, assignments: Sequence[Assignment], retried: Set[int]) -> None:
        """The log knows that the abandoned code of these has returned."""
        self._on_changed()
        for assignment in assignments:
            if assignment.id in retried:
                metrics.RETRIES.labels(handler=assignment.handler).inc()
        self._tell_awaited(assignments)

    def _say_left(self, ending: Ending) -> None:
        assignment = ending.assignment
        if (unsaid := self._left.ask(assignment.job_id)) is not None:
            log.warning(
                "what was handed over cannot be gone on with here",
                namespace=assignment.namespace,
                job=assignment.job_name,
                fire_time=assignment.fire_time.isoformat(),
                execution_id=assignment.id,
                handler=assignment.handler,
                error=ending.message,
                suppressed=unsaid,
            )

    def _say_failed(self, ending: Ending) -> None:
        assignment = ending.assignment
        if (unsaid := self._failures.ask(assignment.job_id)) is not None:
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

    def _tell_awaited(self, ended: Iterable[Assignment]) -> None:
        if any(assignment.is_awaited for assignment in ended):
            self._on_awaited()


def _count(handler: str, ended: Sequence[Ending]) -> None:
    """Count a batch of one handler's."""
    for state, count in Counter(ending.state for ending in ended).items():
        metrics.executions(handler, camel(state)).inc(count)
    metrics.DURATION.observe(handler, [(e.finished_at - e.started_at).total_seconds() for e in ended])
    first = [ending for ending in ended if not ending.assignment.run_key and ending.assignment.attempt == 1]
    metrics.LATENESS.observe(handler, [(e.started_at - e.assignment.due_at).total_seconds() for e in first])
