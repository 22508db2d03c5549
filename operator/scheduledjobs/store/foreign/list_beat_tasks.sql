-- django-celery-beat's tasks by name, each with the one schedule that it has; as JSON, because versions differ. No alias
-- may be a column's name, or the column is meant.
SELECT
    to_jsonb(tasks) AS task,
    to_jsonb(crontabs) AS crontab,
    to_jsonb(intervals) AS interval,
    to_jsonb(clocks) AS clocked,
    to_jsonb(suns) AS solar
FROM django_celery_beat_periodictask AS tasks
LEFT JOIN django_celery_beat_crontabschedule AS crontabs ON crontabs.id = tasks.crontab_id
LEFT JOIN django_celery_beat_intervalschedule AS intervals ON intervals.id = tasks.interval_id
LEFT JOIN django_celery_beat_clockedschedule AS clocks ON clocks.id = tasks.clocked_id
LEFT JOIN django_celery_beat_solarschedule AS suns ON suns.id = tasks.solar_id
ORDER BY tasks.name
