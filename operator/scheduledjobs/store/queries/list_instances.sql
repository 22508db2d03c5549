-- The replicas that have not been declared dead.
SELECT id, hostname, heartbeat_at, handlers FROM scheduler_instance WHERE dead_at IS NULL
