-- What a database user needs who may not change the schema: days made and dropped for it, and views for readers.

CREATE FUNCTION make_day(parent text, day date) RETURNS void
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
    -- the log is updated at least twice; room on its page keeps these updates on it. The default scale of autovacuum
    -- would let a busy day collect millions of dead rows first.
    EXECUTE format(
        'CREATE TABLE IF NOT EXISTS %I (LIKE %I INCLUDING ALL) %s',
        name, parent, CASE WHEN parent = 'job_execution_log' THEN
            'WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.2)'
        END
    );
    EXECUTE format(
        'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        parent, name, to_char(day, 'YYYY-MM-DD 00:00+00'), to_char(day + 1, 'YYYY-MM-DD 00:00+00')
    );
END
$$;
COMMENT ON FUNCTION make_day IS 'Make the partition of a day, with the rights of the owner of the schema.';

-- DETACH CONCURRENTLY cannot be in a function, and DETACH locks the parent against everybody: for a moment, or it waits
-- for no longer than the others can wait for it.
CREATE FUNCTION drop_day(parent text, day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET lock_timeout = '50ms'
AS $$
DECLARE
    name text := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
    is_live boolean := false;
    is_detaching boolean;
BEGIN
    IF parent NOT IN ('job_execution_log', 'job_execution_attempt', 'job_execution_output') THEN
        RAISE EXCEPTION '% has no days', parent;
    ELSIF day >= (statement_timestamp() AT TIME ZONE 'UTC')::date THEN
        RAISE EXCEPTION '% is not over', day;
    ELSIF to_regclass(name) IS NULL THEN
        RETURN true;
    END IF;
    SELECT inhdetachpending INTO is_detaching FROM pg_inherits WHERE inhrelid = to_regclass(name);
    IF is_detaching IS NOT NULL THEN
        IF parent = 'job_execution_log' AND NOT is_detaching THEN
            EXECUTE format(
                'SELECT EXISTS (SELECT FROM %I WHERE state IN (''PENDING'', ''RUNNING'') OR abandoned)', name
            ) INTO is_live;
        END IF;
        IF is_live THEN
            RETURN false;
        END IF;
        EXECUTE format(
            'ALTER TABLE %I DETACH PARTITION %I %s', parent, name, CASE WHEN is_detaching THEN 'FINALIZE' END
        );
    END IF;
    EXECUTE format('DROP TABLE %I', name);
    RETURN true;
EXCEPTION
    WHEN lock_not_available THEN
        RETURN false;
END
$$;
COMMENT ON FUNCTION drop_day IS 'Drop a day that is over; false where it has live rows, or others hold the table.';

-- The schema is whichever the migrations are made in; and nobody's temporary table may take the place of one of ours.
-- (pg_catalog, not being named, is looked at first.)
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION make_day SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION drop_day SET search_path = %I, pg_temp', current_schema());
END
$$;
REVOKE EXECUTE ON FUNCTION make_day, drop_day FROM PUBLIC;

CREATE TABLE reader_namespace (
    reader text NOT NULL,
    namespace text NOT NULL,
    PRIMARY KEY (reader, namespace)
);
COMMENT ON TABLE reader_namespace IS 'Which namespaces a database role may read by the views reader_*; *: all.';
COMMENT ON COLUMN reader_namespace.reader IS 'name of the database role';
COMMENT ON COLUMN reader_namespace.namespace IS 'a namespace, or * for all';

-- Views and no policies on the tables: those would be part of every plan of the operator's own statements. A barrier, or
-- a condition of the reader's could see rows, and tell of them by its error, before the namespace is looked at. The
-- namespaces are read once a statement.
CREATE VIEW reader_job_definition WITH (security_barrier) AS
SELECT * FROM job_definition
WHERE namespace = ANY(ARRAY(SELECT n.namespace FROM reader_namespace AS n WHERE n.reader = current_user))
    OR '*' = ANY(ARRAY(SELECT n.namespace FROM reader_namespace AS n WHERE n.reader = current_user));

CREATE VIEW reader_job_definition_version WITH (security_barrier) AS
SELECT * FROM job_definition_version AS v
WHERE EXISTS (SELECT FROM reader_job_definition AS j WHERE j.id = v.job_id);

CREATE VIEW reader_run_request WITH (security_barrier) AS
SELECT * FROM run_request AS r
WHERE EXISTS (SELECT FROM reader_job_definition AS j WHERE j.id = r.job_id);

CREATE VIEW reader_job_execution_log WITH (security_barrier) AS
SELECT * FROM job_execution_log
WHERE namespace = ANY(ARRAY(SELECT n.namespace FROM reader_namespace AS n WHERE n.reader = current_user))
    OR '*' = ANY(ARRAY(SELECT n.namespace FROM reader_namespace AS n WHERE n.reader = current_user));

CREATE VIEW reader_job_execution_attempt WITH (security_barrier) AS
SELECT * FROM job_execution_attempt AS a
WHERE EXISTS (
    SELECT FROM reader_job_execution_log AS e WHERE e.id = a.execution_id AND e.fire_time = a.fire_time
);

CREATE VIEW reader_job_execution_output WITH (security_barrier) AS
SELECT * FROM job_execution_output AS o
WHERE EXISTS (
    SELECT FROM reader_job_execution_log AS e WHERE e.id = o.execution_id AND e.fire_time = o.fire_time
);
