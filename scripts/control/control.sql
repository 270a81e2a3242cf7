-- caller: the secret key that has one of the hashes, and whose it is
select api_keys.id, api_keys.name, scopes, workspace_id, workspaces.name as workspace
  from api_keys join workspaces on workspaces.id = workspace_id
 where key_hash = any($1::bytea[]) and revoked_at is null and origins = '{}'

-- alone: wait for another request that changes this
select pg_advisory_xact_lock(hashtext('reftide control'), hashtext($1))

-- attempt: begin the answer to an Idempotency-Key; no row where there is one, or another request is at it
insert into control_answers (key_id, key, digest) values ($1, $2, $3)
on conflict do nothing
returning true

-- answered: the answer that a key has, and to which request
select digest, status, body, etag from control_answers where key_id = $1 and key = $2

-- answer: keep an answer
update control_answers set status = $3, body = $4, etag = $5 where key_id = $1 and key = $2

-- forget: delete some answers that are older than a day
delete from control_answers
 where (key_id, key) in (select key_id, key from control_answers
                          where at < now() - interval '1 day' order by at limit 20 for update skip locked)

-- switches: what is off of a workspace's programs and links, and everybody's
select switches.scope::text, subject, reason, switches.created_at
  from switches
  left join programs on switches.scope = 'program' and number::text = subject and programs.workspace_id = $1
  left join links on switches.scope = 'link' and links.public_id = subject and links.workspace_id = $1
 where programs.id is not null or links.id is not null or switches.scope in ('installation', 'dialect')
 order by switches.created_at, switches.scope, subject
