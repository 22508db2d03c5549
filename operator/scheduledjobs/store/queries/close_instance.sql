-- A replica that stops says so itself: what it still owns may be rescued at once.
UPDATE scheduler_instance
SET dead_at = scheduler_now(), running = 0, is_leader = false
WHERE id = %(replica)s AND dead_at IS NULL
