-- Forget notices that can be read no more and whose message was settled a day and an hour ago: rows that go on to change
-- (a range of misses, a long run) are told again then, and a message stays as long as its notices, for by the last one is
-- known when the next may go, `every` of a day at most. What was only counted, and does not change, after an hour: of a
-- storm of failures no more is kept than its messages list.
DELETE FROM notice AS n
USING notice_message AS m
WHERE m.id = n.message_id
    AND m.settled_at < scheduler_now() - CASE WHEN n.folded AND n.kind IN ('failure', 'recovery') THEN interval '1 hour' ELSE interval '25 hours' END
    AND n.occurred_at < (SELECT c.since FROM notice_cursor AS c) - interval '1 minute'
