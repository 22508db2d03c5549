-- Ids for rows that other rows of the same insert point at.
SELECT nextval('execution_id') AS id FROM generate_series(1, %(count)s)
