-- The executions of these jobs that have not ended, oldest first. Run after the jobs' rows are locked, as a statement
-- of its own: an earlier snapshot would miss what was committed while the lock was waited for.
SELECT
    job_id, id, fire_time, state, reason, run_key,
    state = 'PENDING' AND visible_at = 'infinity' AS is_held,
    state = 'PENDING' AND attempt > 0 AND visible_at > scheduler_now() AND visible_at < 'infinity'
        AND reason IS DISTINCT FROM 'HandedOver' AS is_backing_off
FROM job_execution_log
WHERE job_id = ANY(%(job_ids)s) AND (state IN ('PENDING', 'RUNNING') OR abandoned)
ORDER BY job_id, fire_time, id
