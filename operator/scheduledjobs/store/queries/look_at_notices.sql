-- What a webhook has to be sent: a message that was begun, or what waits for one. Ages in seconds, by the database.
SELECT
    sealed.id AS message_id, sealed.attempts, sealed.sealed_at, -- which is NULL while it is being filled
    extract(epoch FROM scheduler_now() - sealed.sealed_at)::double precision AS sealed_seconds,
    waiting.execution_id, waiting.kind,
    extract(epoch FROM scheduler_now() - waiting.noticed_at)::double precision AS waited_seconds,
    extract(epoch FROM scheduler_now() - (
        SELECT max(m.settled_at)
        FROM notice_message AS m
        WHERE m.webhook = %(webhook)s
    ))::double precision AS since_last_seconds
FROM (VALUES (1)) AS one
LEFT JOIN LATERAL (
    SELECT m.id, m.attempts, m.sealed_at
    FROM notice_message AS m
    WHERE m.webhook = %(webhook)s AND m.settled_at IS NULL
    ORDER BY m.sealed_at
    LIMIT 1
) AS sealed ON true
LEFT JOIN LATERAL (
    SELECT n.execution_id, n.kind, n.noticed_at
    FROM notice AS n
    WHERE n.webhook = %(webhook)s AND n.message_id IS NULL
    ORDER BY n.noticed_at, n.execution_id
    LIMIT 1
) AS waiting ON true
