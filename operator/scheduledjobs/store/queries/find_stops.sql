-- What this replica runs and has been asked to stop.
SELECT id, claim_no, cancel_reason, cancel_requested_by
FROM job_execution_log
WHERE claimed_by = %(replica)s AND state = 'RUNNING' AND cancel_reason IS NOT NULL
