-- What was in force for a job, the newest recorded first, before a place in that order.
SELECT job_id, version, recorded_at, spec, effective_from, field_manager, state, message, paused_until, seq
FROM job_definition_version
WHERE job_id = %(job_id)s AND seq < %(before)s
ORDER BY seq DESC
LIMIT %(most)s
