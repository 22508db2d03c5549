-- Put the oldest of what waits for a webhook into a message; with the last of it the message is sealed. A bounded number
-- at a time: a transaction of the leader is short, and much may have come to wait.
WITH part AS MATERIALIZED (
    SELECT execution_id, kind
    FROM notice
    WHERE webhook = %(webhook)s AND message_id IS NULL
    ORDER BY noticed_at, execution_id, kind
    LIMIT %(most)s
    FOR UPDATE
),
made AS (
    INSERT INTO notice_message AS m (id, webhook, sealed_at)
    SELECT %(message_id)s, %(webhook)s, CASE WHEN count(*) < %(most)s THEN scheduler_now() END
    FROM part
    ON CONFLICT (id) DO UPDATE SET sealed_at = excluded.sealed_at
    WHERE m.sealed_at IS NULL
    RETURNING m.id
)
UPDATE notice AS n
SET message_id = made.id
FROM made, part
WHERE n.execution_id = part.execution_id AND n.kind = part.kind AND n.webhook = %(webhook)s
