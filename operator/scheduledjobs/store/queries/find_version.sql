-- A version of a job by its number; after a restore of etcd numbers are used again: then the one recorded last.
SELECT version, recorded_at, spec, effective_from, anchor_at, field_manager, state, reason, message
FROM job_definition_version
WHERE job_id = %(job_id)s AND version = %(version)s
ORDER BY seq DESC
LIMIT 1
