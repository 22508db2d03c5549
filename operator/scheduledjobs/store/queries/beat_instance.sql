-- A replica's sign of life. No row: it was declared dead, which is final. Fields in epoch seconds for the clock.
UPDATE scheduler_instance
SET
    heartbeat_at = scheduler_now(),
    running = %(running)s,
    is_leader = %(is_leader)s,
    term = %(term)s,
    database_ms = %(database_ms)s,
    loop_lag_ms = %(loop_lag_ms)s
WHERE id = %(replica)s AND dead_at IS NULL
RETURNING extract(epoch FROM clock_timestamp() + (scheduler_now() - statement_timestamp()))::double precision AS now
