-- The specs of these versions. A version's spec never changes, so the answer may be kept.
SELECT DISTINCT v.job_id, v.version, v.spec
FROM job_definition_version AS v
JOIN json_to_recordset(%(rows)s::json) AS r (job_id uuid, version bigint)
    ON v.job_id = r.job_id AND v.version = r.version
