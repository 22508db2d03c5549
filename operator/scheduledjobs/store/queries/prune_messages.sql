-- Forget messages once their notices are forgotten, and not later: the id of a message may be needed again.
DELETE FROM notice_message AS m
WHERE m.settled_at < scheduler_now() - interval '1 hour'
    AND NOT EXISTS (SELECT FROM notice AS n WHERE n.message_id = m.id)
