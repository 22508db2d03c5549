-- Declare replicas dead, but only those whose heartbeat is still the one that was last seen. They are locked in any
-- order: all others lock one living replica at a time.
UPDATE scheduler_instance AS i
SET dead_at = scheduler_now(), is_leader = false, running = 0
FROM json_to_recordset(%(rows)s::json) AS r (id uuid, heartbeat_at timestamptz(3))
WHERE i.id = r.id AND i.heartbeat_at = r.heartbeat_at AND i.dead_at IS NULL
RETURNING i.id
