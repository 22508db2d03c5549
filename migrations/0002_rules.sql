-- What the rules of retries, held runs, jitter, pauses and cancels need.

ALTER TABLE job_execution_log ADD COLUMN due_at timestamptz(3);
COMMENT ON COLUMN job_execution_log.due_at IS 'fire time and jitter, where there is any: lateness and startingDeadline count from it';
COMMENT ON COLUMN job_execution_log.visible_at IS 'not claimed before; infinity: held until another run has ended';
COMMENT ON COLUMN job_execution_log.reason IS 'why the state is as it is: one word of the list in docs/explanation/semantics.md';
-- An index of a partitioned table cannot be made concurrently.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX job_execution_log_held ON job_execution_log (job_id, fire_time, id)
WHERE state = 'PENDING' AND visible_at = 'infinity';
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX job_execution_log_stopping ON job_execution_log (claimed_by)
WHERE state = 'RUNNING' AND cancel_reason IS NOT NULL;

ALTER TABLE job_definition_version
ADD COLUMN state text,
ADD COLUMN reason text,
ADD COLUMN message text,
ADD COLUMN paused_until timestamptz(3),
ADD COLUMN paused_by text,
ADD COLUMN pause_reason text,
ADD COLUMN next_fire_at timestamptz(3);
-- It numbers the rows that are there too, so the table is written anew: it has one row a change of a job.
-- squawk-ignore adding-field-with-default
ALTER TABLE job_definition_version ADD COLUMN seq bigint GENERATED ALWAYS AS IDENTITY;
COMMENT ON COLUMN job_definition_version.seq IS 'the order in which changes were recorded, whatever the clock said';
COMMENT ON COLUMN job_definition_version.next_fire_at IS 'the next moment as planned then; NULL: none, or a run had to end first';
COMMENT ON COLUMN job_definition_version.state IS 'state of the job from effective_from on; DELETED: nothing is due from then on';
COMMENT ON COLUMN job_definition_version.paused_until IS 'end of the pause that suspends the job; 9999-12-31: forever';

-- squawk-ignore require-concurrent-index-creation
CREATE INDEX job_definition_paused ON job_definition (paused_until) WHERE state = 'SUSPENDED' AND paused_until IS NOT NULL;

-- In the order of fair claims: each namespace's own, then as job_execution_log_claimable.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX job_execution_log_turns ON job_execution_log (namespace, (trigger = 'CATCH_UP'), visible_at, id)
WHERE state = 'PENDING';
