-- Replicas that died longer ago than history is kept.
DELETE FROM scheduler_instance WHERE dead_at < scheduler_now() - make_interval(days => %(days)s)
