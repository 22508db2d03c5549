-- The server's version, as 170004 for 17.4.
SELECT current_setting('server_version_num')::integer AS version
