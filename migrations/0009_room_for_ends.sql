-- Half of each page of the log is left for the ends of its rows. With a third, two ends of five found no room: they locked
-- the row, moved it to another page, and wrote a tenth more WAL. Days that are there already stay as they are.

CREATE OR REPLACE FUNCTION make_day(parent text, day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    name text := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
    today date := (statement_timestamp() AT TIME ZONE 'UTC')::date;
BEGIN
    IF parent NOT IN ('job_execution_log', 'job_execution_attempt', 'job_execution_output') THEN
        RAISE EXCEPTION '% has no days', parent;
    ELSIF day NOT BETWEEN today - 3660 AND today + 3660 THEN
        RAISE EXCEPTION '% is not a day of the last or the next ten years', day;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext(name));  -- makers of one day, one by one
    IF EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(name) AND relispartition) THEN
        RETURN;
    END IF;
    -- Made as a table of its own and then attached: PARTITION OF would lock the parent against everybody. Every row of
    -- the log is updated at least once; room on its page keeps that update on it. The default scale of autovacuum would
    -- let a busy day collect millions of dead rows first.
    EXECUTE format(
        'CREATE TABLE IF NOT EXISTS %I (LIKE %I INCLUDING ALL) %s',
        name, parent, CASE WHEN parent = 'job_execution_log' THEN
            'WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.2)'
        END
    );
    EXECUTE format(
        'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        parent, name, to_char(day, 'YYYY-MM-DD 00:00+00'), to_char(day + 1, 'YYYY-MM-DD 00:00+00')
    );
END
$$;

-- To replace a function takes its settings away: whose tables it means must not hang on who calls it.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION make_day SET search_path = %I, pg_temp', current_schema());
END
$$;
