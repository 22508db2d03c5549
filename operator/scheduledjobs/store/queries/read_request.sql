-- The execution of a run request, if it is recorded.
SELECT execution_id, fire_time, payload FROM run_request WHERE job_id = %(job_id)s AND token = %(token)s
