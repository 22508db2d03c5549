-- What was handed over is found however much waits: it is claimed before all else, and counts as running.
-- An index of a partitioned table cannot be made concurrently.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX job_execution_log_handed_over ON job_execution_log (visible_at)
WHERE state = 'PENDING' AND reason = 'HandedOver';
