-- A job that is gone is forgotten, with its versions and run requests, when it has been gone for longer than history is
-- kept: else a namespace that makes a job a minute makes these tables grow for ever.

-- It has no entry of a living job, so a fire still writes no index (0008). Nothing is fired while it is made.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX job_definition_deleted ON job_definition (deleted_at) WHERE deleted_at IS NOT NULL;

-- A function of the owner, as drop_day: who may delete rows could delete those of living jobs. It takes none of which the
-- log has a row, for that needs its version. The settings make it look for each job by an index of each day: the log is
-- never read, whatever a plan that is kept was made for. One that somebody has locked may be coming back: it is left.
CREATE FUNCTION forget_jobs(kept_from timestamptz, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    ids uuid[];
BEGIN
    WITH gone AS MATERIALIZED (
        SELECT j.id
        FROM job_definition AS j
        WHERE j.state = 'DELETED' AND j.deleted_at < kept_from
            AND NOT EXISTS (SELECT FROM job_execution_log AS e WHERE e.job_id = j.id)
        ORDER BY j.deleted_at
        LIMIT most
        FOR UPDATE OF j SKIP LOCKED
    )
    SELECT coalesce(array_agg(g.id), '{}') INTO ids FROM gone AS g;
    DELETE FROM run_request WHERE job_id = ANY(ids);
    DELETE FROM job_definition_version WHERE job_id = ANY(ids);
    DELETE FROM job_definition WHERE id = ANY(ids);
    RETURN cardinality(ids);
END
$$;
COMMENT ON FUNCTION forget_jobs IS 'Forget jobs deleted before an instant of which the log has no row; returns how many, at most so many.';
REVOKE EXECUTE ON FUNCTION forget_jobs FROM PUBLIC;

-- Whose tables it means must not hang on who calls it.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION forget_jobs SET search_path = %I, pg_temp', current_schema());
END
$$;

COMMENT ON TABLE job_definition IS 'One row for each ScheduledJob: what should run. Only the leader writes it; a deleted job keeps its row as long as its history.';
