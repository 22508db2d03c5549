"""What a replica serves over HTTP: probes and metrics."""
