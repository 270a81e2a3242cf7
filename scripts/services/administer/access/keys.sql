-- list: keys, all or one workspace's, newest first
select api_keys.id, api_keys.name, last_four, scopes, origins, workspaces.name as workspace,
       api_keys.created_at, revoked_at
  from api_keys join workspaces on workspaces.id = workspace_id
 where ($1::uuid is null or workspace_id = $1) and ($2 or revoked_at is null)
   and ($3::uuid is null or api_keys.id < $3)
 order by api_keys.id desc

-- one: a key by its id
select api_keys.id, api_keys.name, last_four, scopes, origins, workspaces.name as workspace,
       api_keys.created_at, revoked_at
  from api_keys join workspaces on workspaces.id = workspace_id
 where api_keys.id = $1

-- known: whether a key is stored under any of our secrets, and as which
select id from api_keys where key_hash = any($1::bytea[]) limit 1

-- add: a new key; no row where it is known already
insert into api_keys (id, workspace_id, name, key_hash, last_four, scopes, origins)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict do nothing
returning id

-- set: change what is given, keep what is null
update api_keys set name = coalesce($2, name), scopes = coalesce($3, scopes), origins = coalesce($4, origins) where id = $1

-- revoke: for good; the first moment stays
update api_keys set revoked_at = coalesce(revoked_at, now()) where id = $1
