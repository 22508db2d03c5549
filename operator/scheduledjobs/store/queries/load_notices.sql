-- What a message lists.
SELECT
    kind, execution_id, job_id, namespace, job_name, fire_time, occurred_at, state, reason, message, attempt, moment_count
FROM notice
WHERE message_id = %(message_id)s AND NOT folded
ORDER BY occurred_at, execution_id
