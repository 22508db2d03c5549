-- One execution by its id.
SELECT id, state, reason, namespace, job_name, fire_time FROM job_execution_log WHERE id = %(id)s
