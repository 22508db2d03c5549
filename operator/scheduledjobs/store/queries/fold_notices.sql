-- Of what waits for a webhook, all but the newest are counted only: its message stays small, and so does the wait for it.
UPDATE notice AS n
SET folded = true
FROM (
    SELECT execution_id, kind
    FROM notice
    WHERE webhook = %(webhook)s AND message_id IS NULL AND NOT folded
    ORDER BY noticed_at DESC, execution_id DESC
    OFFSET %(most)s
) AS old
WHERE n.execution_id = old.execution_id AND n.kind = old.kind AND n.webhook = %(webhook)s
