-- A fire moves a job by an update that writes no index (HOT): it changes no column that an index names. Due jobs are
-- found by the 16 seconds in which they are due, which most fires of a frequent job leave as they are.
-- A generated column rewrites the table, and nothing is fired meanwhile.
ALTER TABLE job_definition
ADD COLUMN due_from timestamptz(3)
-- squawk-ignore adding-field-with-default
GENERATED ALWAYS AS (date_bin('16 seconds', next_due_at, '1970-01-01 00:00:00+00')) STORED;
COMMENT ON COLUMN job_definition.due_from IS 'the beginning of the 16 seconds in which next_due_at is; indexed in its stead';

-- Every statement of the program before works without them, and reads the whole table meanwhile.
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX job_definition_due;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX job_definition_due ON job_definition (due_from) WHERE due_from IS NOT NULL;
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX job_definition_waiting;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX job_definition_waiting ON job_definition (id)
WHERE schedule_kind = 'FIXED_DELAY' AND due_from IS NULL AND state IN ('ACTIVE', 'SUSPENDED', 'INVALID');

-- A view has the columns that its table had when it was made.
CREATE OR REPLACE VIEW reader_job_definition WITH (security_barrier) AS
SELECT * FROM job_definition
WHERE namespace = ANY(ARRAY(SELECT n.namespace FROM reader_namespace AS n WHERE n.reader = current_user))
    OR '*' = ANY(ARRAY(SELECT n.namespace FROM reader_namespace AS n WHERE n.reader = current_user));
