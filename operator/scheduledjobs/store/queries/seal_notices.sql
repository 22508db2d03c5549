-- Put what waits for a webhook into a message.
WITH made AS (
    INSERT INTO notice_message (id, webhook, sealed_at)
    VALUES (%(message_id)s, %(webhook)s, scheduler_now())
    RETURNING id
)
UPDATE notice AS n
SET message_id = made.id
FROM made
WHERE n.webhook = %(webhook)s AND n.message_id IS NULL
