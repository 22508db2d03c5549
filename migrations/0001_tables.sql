-- The tables of the scheduler: what should run (job_definition), what ran (job_execution_log), who runs it.
-- Time is scheduler_now(), never now(): now() stands still in a transaction, and tests move this one.

-- The offset is a setting of one session, so only a test that sets it sees another time.
CREATE FUNCTION scheduler_now() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN statement_timestamp() + coalesce(nullif(current_setting('scheduledjobs.clock_offset', true), '')::interval, '0'::interval);

CREATE TABLE leadership (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    cluster text,
    term bigint NOT NULL DEFAULT 0,
    holder text NOT NULL DEFAULT '',
    acquired_at timestamptz(3)
);
COMMENT ON TABLE leadership IS 'One row: whose term is in force. Every write of a leader begins by reading it FOR SHARE.';
COMMENT ON COLUMN leadership.cluster IS 'uid of the namespace kube-system of the one cluster this database belongs to';
INSERT INTO leadership DEFAULT VALUES;

CREATE TABLE scheduler_instance (
    id uuid PRIMARY KEY,
    hostname text NOT NULL,
    version text NOT NULL,
    started_at timestamptz(3) NOT NULL,
    heartbeat_at timestamptz(3) NOT NULL,
    dead_at timestamptz(3),
    is_leader boolean NOT NULL DEFAULT false,
    term bigint,
    slots integer NOT NULL,
    running integer NOT NULL DEFAULT 0,
    handlers text[] NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE scheduler_instance IS 'One row a replica and start; dead_at is final.';
CREATE INDEX scheduler_instance_alive ON scheduler_instance (heartbeat_at) WHERE dead_at IS NULL;

CREATE TABLE job_definition (
    id uuid PRIMARY KEY,
    namespace text NOT NULL,
    name text NOT NULL,
    version bigint NOT NULL,
    resource_version numeric NOT NULL,
    annotations jsonb NOT NULL DEFAULT '{}',
    spec jsonb NOT NULL,
    schedule_kind text CHECK (schedule_kind IN ('CRON', 'FIXED_RATE', 'FIXED_DELAY', 'ONE_SHOT')),
    handler text NOT NULL DEFAULT '',
    state text NOT NULL CHECK (state IN ('ACTIVE', 'SUSPENDED', 'INVALID', 'COMPLETED', 'DELETED')),
    reason text NOT NULL,
    message text NOT NULL DEFAULT '',
    paused_until timestamptz(3),
    paused_by text,
    pause_reason text,
    effective_from timestamptz(3) NOT NULL,
    anchor_at timestamptz(3),
    next_fire_at timestamptz(3),
    next_due_at timestamptz(3),
    last_fire_time timestamptz(3),
    created_at timestamptz(3) NOT NULL,
    updated_at timestamptz(3) NOT NULL,
    deleted_at timestamptz(3)
) WITH (fillfactor = 80);
COMMENT ON COLUMN job_definition.id IS 'metadata.uid: a job created again under the same name is a new job with no past';
COMMENT ON COLUMN job_definition.version IS 'metadata.generation: counts the changes of the spec';
COMMENT ON COLUMN job_definition.last_fire_time IS 'the newest decided moment; the next one decided is always after it';
COMMENT ON COLUMN job_definition.next_fire_at IS 'the oldest undecided moment; NULL while there is none';
CREATE UNIQUE INDEX job_definition_name ON job_definition (namespace, name) WHERE state <> 'DELETED';
CREATE INDEX job_definition_due ON job_definition (next_due_at) WHERE next_due_at IS NOT NULL AND state <> 'DELETED';
CREATE INDEX job_definition_waiting ON job_definition (id)
WHERE schedule_kind = 'FIXED_DELAY' AND next_fire_at IS NULL AND state IN ('ACTIVE', 'SUSPENDED', 'INVALID');

CREATE TABLE job_definition_version (
    job_id uuid NOT NULL REFERENCES job_definition,
    version bigint NOT NULL,
    recorded_at timestamptz(3) NOT NULL,
    spec jsonb NOT NULL,
    effective_from timestamptz(3) NOT NULL,
    anchor_at timestamptz(3),
    suspended boolean NOT NULL,
    field_manager text,
    PRIMARY KEY (job_id, version, recorded_at)
);
COMMENT ON TABLE job_definition_version IS 'What was in force from effective_from on; a change of the pause overlay adds a row too.';

CREATE SEQUENCE execution_id;

CREATE TABLE job_execution_log (
    fire_time timestamptz(3) NOT NULL,
    namespace text NOT NULL,
    job_name text NOT NULL,
    state text NOT NULL CHECK (state IN (
        'PENDING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'LOST', 'SKIPPED', 'MISSED'
    )),
    reason text,
    duration_ms bigint,
    lateness_ms bigint,
    attempt integer NOT NULL DEFAULT 0,
    trigger text NOT NULL CHECK (trigger IN ('SCHEDULE', 'MANUAL', 'CATCH_UP')),
    message text,
    handler text NOT NULL,
    started_at timestamptz(3),
    finished_at timestamptz(3),
    last_fire_time timestamptz(3),
    moment_count bigint,
    result jsonb,
    payload jsonb,
    id bigint NOT NULL DEFAULT nextval('execution_id'),
    job_id uuid NOT NULL,
    version bigint NOT NULL,
    run_key text NOT NULL DEFAULT '',
    claim_no integer NOT NULL DEFAULT 0,
    visible_at timestamptz(3),
    start_before timestamptz(3),
    claimed_by uuid,
    claimed_at timestamptz(3),
    blocked_by bigint,
    cancel_reason text,
    cancel_requested_at timestamptz(3),
    cancel_requested_by text,
    abandoned boolean NOT NULL DEFAULT false,
    missed_count bigint,
    first_missed_at timestamptz(3),
    UNIQUE (job_id, fire_time, run_key)
) PARTITION BY RANGE (fire_time);
COMMENT ON TABLE job_execution_log IS 'Exactly one row for every due moment (or a range row for consecutive ones), run or not.';
COMMENT ON COLUMN job_execution_log.run_key IS 'empty for a scheduled moment, the token for a run-now';
COMMENT ON COLUMN job_execution_log.claim_no IS 'rises with each claim; with claimed_by it guards start, completion and hand-back';
COMMENT ON COLUMN job_execution_log.start_before IS 'fire time and startingDeadline: not claimed at or after this; NULL for manual runs';
COMMENT ON COLUMN job_execution_log.moment_count IS 'of a range row: how many moments from fire_time to last_fire_time it stands for';
CREATE INDEX job_execution_log_id ON job_execution_log (id);
CREATE INDEX job_execution_log_live ON job_execution_log (job_id) WHERE state IN ('PENDING', 'RUNNING') OR abandoned;
-- In the order of claims: what is on time before catch-ups, then by due time.
CREATE INDEX job_execution_log_claimable ON job_execution_log ((trigger = 'CATCH_UP'), visible_at, id)
WHERE state = 'PENDING';
CREATE INDEX job_execution_log_deadline ON job_execution_log (start_before) WHERE state = 'PENDING';
CREATE INDEX job_execution_log_owned ON job_execution_log (claimed_by) WHERE state = 'RUNNING' OR abandoned;
-- BRIN, so that an update of finished_at costs no index entry; the newest pages are always read.
CREATE INDEX job_execution_log_finished ON job_execution_log USING brin (finished_at) WITH (pages_per_range = 32);

CREATE TABLE run_request (
    job_id uuid NOT NULL REFERENCES job_definition,
    token text NOT NULL,
    payload jsonb,
    requested_at timestamptz(3) NOT NULL,
    execution_id bigint NOT NULL,
    fire_time timestamptz(3) NOT NULL,
    PRIMARY KEY (job_id, token)
);
COMMENT ON TABLE run_request IS 'A token is one run for the life of the job.';

CREATE TABLE job_execution_attempt (
    fire_time timestamptz(3) NOT NULL,
    execution_id bigint NOT NULL,
    attempt integer NOT NULL,
    state text NOT NULL,
    error text,
    traceback text,
    started_at timestamptz(3),
    finished_at timestamptz(3),
    replica uuid,
    PRIMARY KEY (execution_id, attempt, fire_time)
) PARTITION BY RANGE (fire_time);
COMMENT ON TABLE job_execution_attempt IS 'Attempts that were followed by another one; the last attempt is in job_execution_log.';

CREATE TABLE job_execution_output (
    fire_time timestamptz(3) NOT NULL,
    execution_id bigint NOT NULL,
    attempt integer NOT NULL,
    output text NOT NULL,
    truncated boolean NOT NULL DEFAULT false,
    PRIMARY KEY (execution_id, attempt, fire_time)
) PARTITION BY RANGE (fire_time);
COMMENT ON TABLE job_execution_output IS 'Captured log lines of an attempt, the last 64 KiB, only where there are any.';
