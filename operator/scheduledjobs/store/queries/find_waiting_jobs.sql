-- Jobs of fixedDelay whose next moment hangs on the end of their last run, and that have ended it.
SELECT j.id
FROM job_definition AS j
WHERE j.schedule_kind = 'FIXED_DELAY' AND j.next_fire_at IS NULL AND j.due_from IS NULL AND j.state = 'ACTIVE'
    AND NOT EXISTS (
        SELECT FROM job_execution_log AS e
        WHERE e.job_id = j.id AND e.run_key = '' AND (e.state IN ('PENDING', 'RUNNING') OR e.abandoned)
    )
LIMIT 1000
