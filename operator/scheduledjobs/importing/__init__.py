"""Translation of other schedulers' jobs into ScheduledJobs: values in, values out; what differs is named."""
