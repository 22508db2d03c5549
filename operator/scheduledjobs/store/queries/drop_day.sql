-- Drop a day, with the rights of the schema's owner, unless others hold the table or it has live rows.
SELECT drop_day(%(parent)s, %(day)s) AS dropped
