"""The one door to Postgres: psycopg is imported here and nowhere else."""
