-- What REST and the pages read of replicas, of who led when, and of what failed.

CREATE TABLE leadership_term (
    term bigint PRIMARY KEY,
    holder text NOT NULL,
    acquired_at timestamptz(3) NOT NULL
);
COMMENT ON TABLE leadership_term IS 'Who took which term, and when: the past of leadership, for people. Nothing is decided by it.';
INSERT INTO leadership_term (term, holder, acquired_at)
SELECT term, holder, acquired_at FROM leadership WHERE acquired_at IS NOT NULL;

ALTER TABLE scheduler_instance
ADD COLUMN database_ms real,
ADD COLUMN loop_lag_ms real;
COMMENT ON COLUMN scheduler_instance.database_ms IS 'how long the heartbeat before the last one took';
COMMENT ON COLUMN scheduler_instance.loop_lag_ms IS 'how late the main event loop woke, at worst, between the last two heartbeats';

-- An index of a partitioned table cannot be made concurrently.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX job_execution_log_failed ON job_execution_log (fire_time)
WHERE state IN ('FAILED', 'TIMED_OUT', 'LOST', 'MISSED');

-- A page of jobs begins anywhere and reads no other page's jobs; the unique index does not have those that are gone.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX job_definition_listed ON job_definition (namespace, name, id);
