"""ScheduledJobs: a Kubernetes operator that runs recurring jobs exactly once per due moment."""

__version__ = "0.1.0"
