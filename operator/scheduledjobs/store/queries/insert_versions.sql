-- Keep each version that is seen, and each change of what is in force under it.
INSERT INTO job_definition_version (
    job_id, version, recorded_at, spec, effective_from, anchor_at, suspended, field_manager
)
SELECT r.job_id, r.version, r.recorded_at, r.spec, r.effective_from, r.anchor_at, r.suspended, r.field_manager
FROM json_to_recordset(%(rows)s::json) AS r (
    job_id uuid, version bigint, recorded_at timestamptz(3), spec jsonb, effective_from timestamptz(3),
    anchor_at timestamptz(3), suspended boolean, field_manager text
)
ON CONFLICT DO NOTHING
