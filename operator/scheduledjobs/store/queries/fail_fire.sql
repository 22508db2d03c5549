-- A job that cannot be fired says so; it is retried, and the mirror or a later fire clears it.
UPDATE job_definition SET reason = 'FireFailed', message = %(message)s, updated_at = scheduler_now()
WHERE id = %(job_id)s AND state = 'ACTIVE'
RETURNING id
