-- Does anything run, or was it abandoned, under an owner that is not alive? A look before find_orphans, which locks.
SELECT EXISTS (
    SELECT FROM job_execution_log AS e
    WHERE (e.state = 'RUNNING' OR e.abandoned)
        AND NOT EXISTS (SELECT FROM scheduler_instance AS i WHERE i.id = e.claimed_by AND i.dead_at IS NULL)
) AS found
