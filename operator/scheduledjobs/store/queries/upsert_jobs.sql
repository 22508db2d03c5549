-- Write jobs as the mirror has planned them. What only the fire step moves is written from the locked row.
INSERT INTO job_definition (
    id, namespace, name, version, resource_version, annotations, spec, schedule_kind, handler, state, reason, message,
    effective_from, anchor_at, next_fire_at, next_due_at, last_fire_time, created_at, updated_at, deleted_at,
    paused_until, paused_by, pause_reason
)
SELECT
    r.id, r.namespace, r.name, r.version, r.resource_version, r.annotations, r.spec, r.schedule_kind, r.handler,
    r.state, r.reason, r.message, r.effective_from, r.anchor_at, r.next_fire_at, r.next_due_at, r.last_fire_time,
    r.created_at, scheduler_now(), NULL, r.paused_until, r.paused_by, r.pause_reason
FROM json_to_recordset(%(rows)s::json) AS r (
    id uuid, namespace text, name text, version bigint, resource_version numeric, annotations jsonb, spec jsonb,
    schedule_kind text, handler text, state text, reason text, message text, effective_from timestamptz(3),
    anchor_at timestamptz(3), next_fire_at timestamptz(3), next_due_at timestamptz(3), last_fire_time timestamptz(3),
    created_at timestamptz(3), paused_until timestamptz(3), paused_by text, pause_reason text
)
ORDER BY r.id
ON CONFLICT (id) DO UPDATE SET
    version = excluded.version,
    resource_version = excluded.resource_version,
    annotations = excluded.annotations,
    spec = excluded.spec,
    schedule_kind = excluded.schedule_kind,
    handler = excluded.handler,
    state = excluded.state,
    reason = excluded.reason,
    message = excluded.message,
    effective_from = excluded.effective_from,
    anchor_at = excluded.anchor_at,
    next_fire_at = excluded.next_fire_at,
    next_due_at = excluded.next_due_at,
    last_fire_time = excluded.last_fire_time,
    updated_at = excluded.updated_at,
    deleted_at = NULL,
    paused_until = excluded.paused_until,
    paused_by = excluded.paused_by,
    pause_reason = excluded.pause_reason
