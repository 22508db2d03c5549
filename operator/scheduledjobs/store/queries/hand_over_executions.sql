-- Let other replicas go on with attempts whose work survives this one. The attempt stays the same one: it is not counted
-- twice, and it began when it began. It is not given up before the longest timeout has passed: where no replica has its
-- handler any more, it must not wait for ever.
-- With wait_seconds: what this replica has claimed and cannot go on with. It is left to others for so long, and since
-- nobody has watched it meanwhile, the time after which it is given up goes on.
UPDATE job_execution_log AS e
SET state = 'PENDING', reason = 'HandedOver', attempt = e.attempt - 1, claimed_by = NULL, claimed_at = NULL,
    -- What it noted last may not be in the row yet; where this claim noted nothing, what an earlier one did stays.
    result = coalesce(r.note, e.result),
    message = coalesce(r.message, 'its replica has gone and its work goes on, for the next replica to watch'),
    visible_at = coalesce(scheduler_now() + make_interval(secs => r.wait_seconds), e.visible_at),
    start_before = CASE WHEN r.wait_seconds IS NULL THEN scheduler_now() + interval '8 days' ELSE e.start_before END
FROM json_to_recordset(%(rows)s::json) AS r (
    id bigint, fire_time timestamptz(3), claim_no integer, note jsonb, message text, wait_seconds double precision
)
WHERE e.id = r.id AND e.fire_time = r.fire_time AND e.claim_no = r.claim_no
    AND CASE e.state WHEN 'RUNNING' THEN e.claimed_by = %(replica)s END  -- so: complete_executions
RETURNING e.id
