-- A role that reads the rows of {told}, and no others. Run it in the database of ScheduledJobs
-- as an administrator, after `scheduledjobs migrate`. Run again, it replaces the namespaces. A password is yours to set:
--   \password {reader}
--
-- It reads the views reader_job_definition, reader_job_execution_log and so on; the limits are defaults, which whoever
-- logs in may change.
BEGIN;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{reader}') THEN
        CREATE ROLE {reader};
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO {reader}', current_database());
    EXECUTE format('ALTER ROLE {reader} IN DATABASE %I SET statement_timeout = ''30s''', current_database());
    EXECUTE format('ALTER ROLE {reader} IN DATABASE %I SET idle_in_transaction_session_timeout = ''10s''', current_database());
    EXECUTE format('ALTER ROLE {reader} IN DATABASE %I SET default_transaction_read_only = on', current_database());
END
$$;

ALTER ROLE {reader} LOGIN CONNECTION LIMIT 10;
GRANT USAGE ON SCHEMA public TO {reader};
GRANT SELECT ON
    reader_job_definition, reader_job_definition_version, reader_run_request,
    reader_job_execution_log, reader_job_execution_attempt, reader_job_execution_output
TO {reader};
DELETE FROM reader_namespace WHERE reader = '{reader}';
INSERT INTO reader_namespace (reader, namespace) SELECT '{reader}', unnest(ARRAY[{namespaces}]);
COMMIT;
