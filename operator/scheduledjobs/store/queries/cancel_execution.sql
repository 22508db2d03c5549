-- Cancel an execution for a person: one that waits ends at once, one that runs is asked to stop, one that has ended
-- while its code runs on is not tried again. One that was handed over waits while its work goes on: whoever claims it
-- ends that.
UPDATE job_execution_log AS e
SET state = CASE WHEN e.state = 'PENDING' AND e.reason IS DISTINCT FROM 'HandedOver' THEN 'CANCELLED' ELSE e.state END,
    reason = CASE WHEN e.state = 'PENDING' AND e.reason IS DISTINCT FROM 'HandedOver' THEN 'CancelRequested' ELSE e.reason END,
    message = CASE WHEN e.state = 'PENDING' AND e.reason IS DISTINCT FROM 'HandedOver' THEN %(message)s ELSE e.message END,
    finished_at = CASE WHEN e.state = 'PENDING' AND e.reason IS DISTINCT FROM 'HandedOver' THEN scheduler_now() ELSE e.finished_at END,
    cancel_reason = coalesce(e.cancel_reason, 'CancelRequested'),
    cancel_requested_at = coalesce(e.cancel_requested_at, scheduler_now()),
    cancel_requested_by = coalesce(e.cancel_requested_by, %(by)s::text)
WHERE e.id = %(id)s AND (e.state IN ('PENDING', 'RUNNING') OR e.abandoned)
RETURNING e.id, e.state, e.namespace, e.job_name, e.fire_time
