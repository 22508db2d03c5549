-- The thread of an ended attempt has returned: it no longer counts as live.
UPDATE job_execution_log AS e
SET abandoned = false
FROM json_to_recordset(%(rows)s::json) AS r (id bigint, fire_time timestamptz(3), claim_no integer)
WHERE e.id = r.id AND e.fire_time = r.fire_time AND e.claim_no = r.claim_no
    AND e.claimed_by = %(replica)s AND e.abandoned
RETURNING e.id
