-- Forget what is for webhooks that the operator has no more.
WITH gone AS (
    DELETE FROM notice
    WHERE webhook <> ALL(%(webhooks)s::text[])
)
DELETE FROM notice_message
WHERE webhook <> ALL(%(webhooks)s::text[])
