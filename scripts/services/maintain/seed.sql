-- imported: whether a click id was imported already, and as which click
select click_id from imported_clicks where workspace_id = $1 and token = $2

-- import: a click id that another vendor issued
insert into imported_clicks (workspace_id, token, click_id, link_id) values ($1, $2, $3, $4)

-- live: which of some keys work
select key_hash from api_keys where key_hash = any($1::bytea[]) and revoked_at is null

-- revoke: those of some keys that worked until now
update api_keys set revoked_at = now()
 where key_hash = any($1::bytea[]) and revoked_at is null
returning key_hash
