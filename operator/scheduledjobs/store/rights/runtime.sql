-- What replicas need, and no more: no DDL, nothing that decides who reads what, no deletion of what was recorded.
-- `scheduledjobs migrate` runs this as the owner after the migrations, with the user of SCHEDULEDJOBS_DATABASE_URL.
GRANT USAGE ON SCHEMA {schema} TO {runtime};
GRANT SELECT ON schema_migration TO {runtime};
GRANT SELECT, UPDATE ON leadership TO {runtime};
GRANT SELECT, INSERT, DELETE ON leadership_term TO {runtime};
GRANT SELECT, INSERT, UPDATE, DELETE ON scheduler_instance TO {runtime};
GRANT SELECT, INSERT, UPDATE ON
    job_definition, job_definition_version, job_execution_log, job_execution_attempt, job_execution_output
TO {runtime};
GRANT SELECT, INSERT ON run_request TO {runtime};
GRANT SELECT, INSERT, UPDATE, DELETE ON notice, notice_message, notice_failing, notice_cursor TO {runtime};
GRANT USAGE ON SEQUENCE execution_id TO {runtime};
GRANT EXECUTE ON FUNCTION make_day, drop_day, forget_jobs TO {runtime}
