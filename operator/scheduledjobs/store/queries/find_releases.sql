-- What there may be to release, one look instead of one for each; and whether the term is in force, which a leader without
-- anything to write would not learn.
SELECT
    EXISTS (SELECT FROM leadership WHERE term = %(term)s AND holder = %(holder)s) AS is_in_force,
    EXISTS (
        SELECT FROM job_definition
        WHERE schedule_kind = 'FIXED_DELAY' AND next_fire_at IS NULL AND due_from IS NULL AND state = 'ACTIVE'
    ) AS is_any_waiting,
    EXISTS (SELECT FROM job_execution_log WHERE state = 'PENDING' AND start_before <= scheduler_now()) AS is_any_late,
    EXISTS (SELECT FROM job_execution_log WHERE state = 'PENDING' AND visible_at = 'infinity') AS is_any_held
