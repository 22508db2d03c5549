-- Forget notices that can be read no more and whose message is settled: after an hour, those whose row goes on to change
-- (a range of misses, a long run) after a day and an hour.
DELETE FROM notice AS n
USING notice_message AS m
WHERE m.id = n.message_id
    AND m.settled_at < scheduler_now() - CASE WHEN n.kind IN ('miss', 'longRun') THEN interval '25 hours' ELSE interval '1 hour' END
    AND n.occurred_at < (SELECT c.since FROM notice_cursor AS c) - interval '1 minute'
