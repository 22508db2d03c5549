"""What people changed through REST and pages, in the log: the API server's audit log says the same of the resource."""

from __future__ import annotations

import structlog

from scheduledjobs.kube.caller import Caller

log = structlog.get_logger(__name__)


def tell_change(
    caller: Caller,
    verb: str,
    namespace: str,
    job: str,
    *,
    paused_until: str | None = None,
    run_key: str | None = None,
    execution_id: int | None = None,
) -> None:
    """Log who did what to which job; what does not belong to the verb is None, and left out."""
    log.info(
        "a person changed a job",
        user=caller.name,
        verb=verb,
        namespace=namespace,
        job=job,
        paused_until=paused_until,
        run_key=run_key,
        execution_id=execution_id,
    )
