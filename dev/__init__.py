"""A real API server, etcd and PostgreSQL on loopback, for development, the demo and the tests."""
