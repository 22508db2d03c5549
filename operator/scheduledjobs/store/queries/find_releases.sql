-- What there may be to release: one look instead of one for each.
SELECT
    EXISTS (
        SELECT FROM job_definition
        WHERE schedule_kind = 'FIXED_DELAY' AND next_fire_at IS NULL AND due_from IS NULL AND state = 'ACTIVE'
    ) AS is_any_waiting,
    EXISTS (SELECT FROM job_execution_log WHERE state = 'PENDING' AND start_before <= scheduler_now()) AS is_any_late,
    EXISTS (SELECT FROM job_execution_log WHERE state = 'PENDING' AND visible_at = 'infinity') AS is_any_held
