"""A handler of your own: `spec.handler: report`."""

from pydantic import BaseModel

from scheduledjobs.handlers import Execution, handler


class Report(BaseModel):
    """Its payload."""

    customer: int


@handler("report", payload=Report)
async def report(execution: Execution, payload: Report) -> dict[str, int]:
    """Pretend to make a report."""
    execution.logger.info("for customer %s, key %s", payload.customer, execution.idempotency_key)
    return {"rows": 3}
