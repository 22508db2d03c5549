-- Move jobs past the moments being decided, by compare-and-set: only where all of them are due by the database's own time
-- (newest_due_at is NULL where one is decided, which the job itself says when it is due), only where nobody moved or changed
-- the job since it was read, and no pause of it has ended. Locks in id order, as every statement on many jobs does; a job
-- that somebody else has locked is left out, so that the others need not wait.
WITH wanted AS (
    SELECT * FROM json_to_recordset(%(rows)s::json) AS r (
        id uuid, expected timestamptz(3), version bigint, state text,
        next_fire_at timestamptz(3), next_due_at timestamptz(3), last_fire_time timestamptz(3),
        newest_due_at timestamptz(3), is_completed boolean
    )
), locked AS MATERIALIZED (
    SELECT j.id
    FROM job_definition AS j
    JOIN wanted AS w ON w.id = j.id
    WHERE j.next_fire_at = w.expected AND j.version = w.version AND j.state = w.state
        AND j.next_due_at <= scheduler_now()
        AND (w.newest_due_at IS NULL OR w.newest_due_at <= scheduler_now())
        AND (j.paused_until IS NULL OR j.paused_until > scheduler_now())
    ORDER BY j.id
    FOR UPDATE OF j SKIP LOCKED
)
UPDATE job_definition AS j
SET next_fire_at = w.next_fire_at,
    next_due_at = w.next_due_at,
    last_fire_time = greatest(j.last_fire_time, w.last_fire_time),
    state = CASE WHEN w.is_completed THEN 'COMPLETED' ELSE j.state END,
    reason = CASE WHEN w.is_completed THEN 'Completed' WHEN j.reason = 'FireFailed' THEN 'Scheduled' ELSE j.reason END,
    message = CASE WHEN w.is_completed THEN 'no fire time is left' WHEN j.reason = 'FireFailed' THEN '' ELSE j.message END,
    updated_at = scheduler_now()
FROM locked
JOIN wanted AS w ON w.id = locked.id
WHERE j.id = locked.id
RETURNING j.id
