-- The executions of these jobs that have not ended, the oldest of each. Run after the jobs' rows are locked, as a
-- statement of its own: an earlier snapshot would miss what was committed while the lock was waited for.
SELECT DISTINCT ON (job_id) job_id, id, fire_time, state, run_key
FROM job_execution_log
WHERE job_id = ANY(%(job_ids)s) AND (state IN ('PENDING', 'RUNNING') OR abandoned)
ORDER BY job_id, fire_time, id
