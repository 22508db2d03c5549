-- Does a day still have executions that have not ended? It is kept until they have.
SELECT EXISTS (
    SELECT FROM job_execution_log
    WHERE fire_time >= %(day)s AND fire_time < %(day)s + interval '1 day'
        AND (state IN ('PENDING', 'RUNNING') OR abandoned)
) AS has_live
