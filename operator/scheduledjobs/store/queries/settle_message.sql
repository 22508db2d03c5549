-- Note how an attempt at a message ended; `result` is NULL while it is to be tried again.
UPDATE notice_message
SET attempts = attempts + 1,
    error = %(error)s,
    result = %(result)s,
    settled_at = CASE WHEN %(result)s::text IS NOT NULL THEN scheduler_now() END
WHERE id = %(message_id)s AND settled_at IS NULL
