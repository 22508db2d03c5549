"""The one door to Kubernetes: kopf and the kubernetes client are imported here and nowhere else."""
