-- Living jobs that have the name of one of these resources and another uid.
SELECT j.id, r.id AS claimant
FROM job_definition AS j
JOIN json_to_recordset(%(rows)s::json) AS r (id uuid, namespace text, name text)
    ON j.namespace = r.namespace AND j.name = r.name AND j.id <> r.id
WHERE j.state <> 'DELETED'
