"""ScheduledJobs beside other schedulers and job queues, on one PostgreSQL: `make bench-peers`."""
