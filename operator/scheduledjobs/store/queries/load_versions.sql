-- The specs of these versions. A version's spec does not change unless etcd is restored: then the newest counts.
SELECT DISTINCT ON (v.job_id, v.version) v.job_id, v.version, v.spec
FROM job_definition_version AS v
JOIN json_to_recordset(%(rows)s::json) AS r (job_id uuid, version bigint)
    ON v.job_id = r.job_id AND v.version = r.version
ORDER BY v.job_id, v.version, v.seq DESC
