-- The resource is gone, or nobody watches it any more: its row stays for its history, and its name is free for a new job.
UPDATE job_definition AS j
SET state = 'DELETED', reason = 'Deleted', message = r.message, next_fire_at = NULL, next_due_at = NULL,
    last_fire_time = r.last_fire_time, updated_at = scheduler_now(), deleted_at = r.deleted_at, paused_until = NULL
FROM json_to_recordset(%(rows)s::json) AS r (
    id uuid, message text, last_fire_time timestamptz(3), deleted_at timestamptz(3)
)
WHERE j.id = r.id
