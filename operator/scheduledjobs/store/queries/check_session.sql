-- Where one of the settings comes from that every session asks for when it connects.
SELECT source FROM pg_settings WHERE name = 'default_transaction_isolation'
