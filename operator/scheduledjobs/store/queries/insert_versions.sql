-- Keep each version that is seen, and each change of what is in force under it. Who wrote a version is known when it
-- is first seen; a pause that ends by itself or a delete comes without a name, so the name is carried over. A version
-- that was there with another spec is one that a restored etcd has numbered again.
INSERT INTO job_definition_version AS n (
    job_id, version, recorded_at, spec, effective_from, anchor_at, suspended, field_manager, state, reason,
    message, paused_until, paused_by, pause_reason, next_fire_at
)
SELECT r.job_id, r.version, r.recorded_at, r.spec, r.effective_from, r.anchor_at, r.suspended,
    coalesce(r.field_manager, (
        SELECT v.field_manager FROM job_definition_version AS v
        WHERE v.job_id = r.job_id AND v.version = r.version AND v.field_manager IS NOT NULL
        ORDER BY v.seq DESC
        LIMIT 1
    )),
    r.state, r.reason, r.message, r.paused_until, r.paused_by, r.pause_reason, r.next_fire_at
FROM json_to_recordset(%(rows)s::json) AS r (
    job_id uuid, version bigint, recorded_at timestamptz(3), spec jsonb, effective_from timestamptz(3),
    anchor_at timestamptz(3), suspended boolean, field_manager text, state text, reason text, message text,
    paused_until timestamptz(3), paused_by text, pause_reason text, next_fire_at timestamptz(3)
)
ON CONFLICT (job_id, version, recorded_at) DO UPDATE SET
    seq = DEFAULT, -- the newest, also if the clock was set back to the very millisecond of an older row
    effective_from = excluded.effective_from,
    anchor_at = excluded.anchor_at,
    suspended = excluded.suspended,
    state = excluded.state,
    reason = excluded.reason,
    message = excluded.message,
    paused_until = excluded.paused_until,
    paused_by = excluded.paused_by,
    pause_reason = excluded.pause_reason,
    next_fire_at = excluded.next_fire_at
RETURNING EXISTS (
    SELECT FROM job_definition_version AS v
    WHERE v.job_id = n.job_id AND v.version = n.version AND v.spec <> n.spec
) AS is_rewritten
