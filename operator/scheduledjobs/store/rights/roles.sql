-- The roles of one ScheduledJobs database. Read it, then run it in that database as an administrator: a superuser, or
-- the owner of the database with CREATEROLE. It may be run again. Passwords are yours to set:
--   \password {migrator}
--   \password {runtime}
--
-- {owner}     owns the schema; nobody logs in as it
-- {migrator}  makes and changes the schema, as {owner}: SCHEDULEDJOBS_MIGRATE_URL
-- {runtime}   what replicas are: no DDL; `scheduledjobs migrate` grants it what it needs: SCHEDULEDJOBS_DATABASE_URL
BEGIN;
SET LOCAL lock_timeout = '5s';

DO $$
DECLARE
    role text;
    ours text;
    tables regclass[];
    us oid;
BEGIN
    FOREACH role IN ARRAY ARRAY['{owner}', '{migrator}', '{runtime}'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I', role);
        END IF;
    END LOOP;
    us := (SELECT oid FROM pg_roles WHERE rolname = '{owner}');
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        GRANT {owner} TO CURRENT_USER;  -- or what is there already could not be given to it
    END IF;

    EXECUTE format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO {migrator}, {runtime}', current_database());
    EXECUTE format('ALTER ROLE {migrator} IN DATABASE %I SET role = {owner}', current_database());

    -- What an installation of one user has made so far. That user becomes a member of the owner, so that replicas which
    -- are there go on; take it back when none has that user any more: REVOKE {owner} FROM ...
    GRANT USAGE, CREATE ON SCHEMA public TO {owner};
    tables := ARRAY(
        SELECT c.oid::regclass
        FROM pg_class AS c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S') AND c.relowner <> us
            AND c.relname ~ (
                '^((reader_)?job_(definition|definition_version|execution_(log|attempt|output)(_[0-9]+)?)|execution_id'
                '|(reader_)?run_request|reader_namespace|schema_migration|leadership|leadership_term|scheduler_instance'
                '|notice|notice_(message|failing|cursor))$'
            )
        ORDER BY c.oid
    );
    FOR role IN
        SELECT DISTINCT r.rolname
        FROM pg_class AS c
        JOIN pg_roles AS r ON r.oid = c.relowner
        WHERE c.oid = ANY(tables::oid[]) AND NOT r.rolsuper AND r.rolname NOT IN ('{migrator}', '{runtime}')
    LOOP
        EXECUTE format('GRANT {owner} TO %I', role);
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role);
        RAISE NOTICE 'the tables were those of %, which is a member of {owner} now', role;
    END LOOP;
    FOREACH ours IN ARRAY tables LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO {owner}', ours);
    END LOOP;
    FOR ours IN
        SELECT p.oid::regprocedure::text
        FROM pg_proc AS p
        WHERE p.pronamespace = 'public'::regnamespace AND p.proowner <> us
            AND p.proname IN ('scheduler_now', 'make_day', 'drop_day', 'forget_jobs')
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO {owner}', ours);
    END LOOP;
END
$$;

ALTER ROLE {owner} NOLOGIN;
ALTER ROLE {migrator} LOGIN;
ALTER ROLE {runtime} LOGIN;
GRANT {owner} TO {migrator};
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO {runtime};
COMMIT;
