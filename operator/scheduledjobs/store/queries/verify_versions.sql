-- What was in force for a job, in the order in which it was recorded, whatever the clock said.
SELECT
    job_id, version, recorded_at, spec, effective_from, anchor_at, suspended, field_manager, state, reason, message,
    paused_until, paused_by, pause_reason, next_fire_at, seq
FROM job_definition_version
WHERE job_id = %(job_id)s
ORDER BY seq
