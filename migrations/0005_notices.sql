-- What is told to webhooks: notices, the messages that they were put into, which jobs were last said to fail.
-- Nothing is written here while the operator has no webhook.

CREATE TABLE notice_message (
    id text PRIMARY KEY,
    webhook text NOT NULL,
    sealed_at timestamptz(3),
    settled_at timestamptz(3),
    result text CHECK (result IN ('SENT', 'DROPPED')),
    attempts integer NOT NULL DEFAULT 0,
    error text
);
COMMENT ON TABLE notice_message IS 'A message to a webhook: what it holds is fixed before it is first sent, so that it can be sent again.';
CREATE INDEX notice_message_of ON notice_message (webhook, sealed_at);

CREATE TABLE notice (
    execution_id bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('failure', 'recovery', 'miss', 'longRun')),
    webhook text NOT NULL,
    noticed_at timestamptz(3) NOT NULL,
    namespace text NOT NULL,
    job_name text NOT NULL,
    job_id uuid NOT NULL,
    fire_time timestamptz(3) NOT NULL,
    occurred_at timestamptz(3) NOT NULL,
    state text NOT NULL,
    reason text,
    message text,
    attempt integer NOT NULL,
    moment_count bigint NOT NULL DEFAULT 1,
    folded boolean NOT NULL DEFAULT false,
    others bigint NOT NULL DEFAULT 0,
    message_id text REFERENCES notice_message ON DELETE CASCADE,
    PRIMARY KEY (execution_id, kind, webhook)
);
COMMENT ON TABLE notice IS 'What a webhook is told of an execution, once a kind; without message_id it waits.';
COMMENT ON COLUMN notice.folded IS 'too many waited: it is counted in the message, and not listed';
CREATE INDEX notice_waiting ON notice (webhook, noticed_at, execution_id) WHERE message_id IS NULL;
CREATE INDEX notice_in_message ON notice (message_id);

CREATE TABLE notice_failing (
    job_id uuid PRIMARY KEY,
    fire_time timestamptz(3) NOT NULL,
    recovered_at timestamptz(3)
);
COMMENT ON TABLE notice_failing IS 'Jobs whose failure was noticed; the first success of a later fire time is their recovery.';

CREATE TABLE notice_cursor (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    since timestamptz(3) NOT NULL,
    awaited jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE notice_cursor IS 'One row: what ended before since has been noticed.';

COMMENT ON COLUMN notice_message.id IS 'which the message carries each time it is sent: receivers know a repetition by it';
COMMENT ON COLUMN notice_message.webhook IS 'name of the webhook';
COMMENT ON COLUMN notice_message.sealed_at IS 'when it was decided what the message holds; NULL: more is being put into it';
COMMENT ON COLUMN notice_message.settled_at IS 'when it had arrived, or was given up';
COMMENT ON COLUMN notice_message.result IS 'SENT or DROPPED; NULL: is to be sent';
COMMENT ON COLUMN notice_message.attempts IS 'how often it was sent in vain';
COMMENT ON COLUMN notice_message.error IS 'why it did not arrive the last time';
COMMENT ON COLUMN notice.execution_id IS 'job_execution_log.id';
COMMENT ON COLUMN notice.kind IS 'failure, recovery, miss or longRun';
COMMENT ON COLUMN notice.webhook IS 'name of the webhook';
COMMENT ON COLUMN notice.noticed_at IS 'when the leader noticed it';
COMMENT ON COLUMN notice.namespace IS 'namespace of the job';
COMMENT ON COLUMN notice.job_name IS 'name of the job';
COMMENT ON COLUMN notice.job_id IS 'job_definition.id';
COMMENT ON COLUMN notice.fire_time IS 'the moment that the schedule names';
COMMENT ON COLUMN notice.occurred_at IS 'when it happened';
COMMENT ON COLUMN notice.state IS 'state of the execution then';
COMMENT ON COLUMN notice.reason IS 'its reason';
COMMENT ON COLUMN notice.message IS 'its message';
COMMENT ON COLUMN notice.attempt IS 'number of the attempt';
COMMENT ON COLUMN notice.moment_count IS 'how many moments a range row stands for';
COMMENT ON COLUMN notice.others IS 'how many more of its job and kind a folded row counts, whose own rows are deleted';
COMMENT ON COLUMN notice.message_id IS 'the message that it was put into';
COMMENT ON COLUMN notice_failing.job_id IS 'job_definition.id';
COMMENT ON COLUMN notice_failing.fire_time IS 'of the newest failure that was noticed';
COMMENT ON COLUMN notice_failing.recovered_at IS 'when a success of a later fire time was noticed';
COMMENT ON COLUMN notice_cursor.since IS 'what ended before has been noticed';
COMMENT ON COLUMN notice_cursor.awaited IS 'fire times by id of executions that timed out while their code runs on: noticed once it is known that no attempt follows';
COMMENT ON COLUMN notice_cursor.only_row IS 'true: there is one row';
