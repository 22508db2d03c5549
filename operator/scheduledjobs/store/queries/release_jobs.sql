-- Give jobs of fixedDelay their next moment, or complete those whose window has closed.
UPDATE job_definition AS j
SET next_fire_at = r.next_fire_at,
    next_due_at = r.next_due_at,
    state = CASE WHEN r.next_fire_at IS NULL THEN 'COMPLETED' ELSE j.state END,
    reason = CASE WHEN r.next_fire_at IS NULL THEN 'Completed' ELSE j.reason END,
    message = CASE WHEN r.next_fire_at IS NULL THEN 'no fire time is left' ELSE j.message END,
    updated_at = scheduler_now()
FROM json_to_recordset(%(rows)s::json) AS r (id uuid, next_fire_at timestamptz(3), next_due_at timestamptz(3))
WHERE j.id = r.id
