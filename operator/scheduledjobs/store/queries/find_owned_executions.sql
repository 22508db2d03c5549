-- What the database says this replica is running.
SELECT id, fire_time, claim_no FROM job_execution_log WHERE claimed_by = %(replica)s AND state = 'RUNNING'
