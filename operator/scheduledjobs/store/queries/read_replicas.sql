-- The replicas that live, and those that ended within the last hour; and the database's time.
SELECT
    id, hostname, version, started_at, heartbeat_at, dead_at, is_leader, term, slots, running, handlers, database_ms,
    loop_lag_ms, scheduler_now() AS now
FROM scheduler_instance
WHERE dead_at IS NULL OR dead_at > scheduler_now() - interval '1 hour'
ORDER BY dead_at IS NOT NULL, hostname, started_at DESC
LIMIT 200
