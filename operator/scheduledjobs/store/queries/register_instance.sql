-- A replica says that it exists, under an id that is new at each start.
INSERT INTO scheduler_instance (id, hostname, version, started_at, heartbeat_at, slots, handlers)
VALUES (%(replica)s, %(hostname)s, %(version)s, scheduler_now(), scheduler_now(), %(slots)s, %(handlers)s)
