-- claims_add: claim free keys; gives back the keys that were free
insert into claims (workspace_id, scope, key, event_id, is_keyless, at, digest, expires_at)
select * from unnest($1::uuid[], $2::text[], $3::bytea[], $4::uuid[], $5::boolean[], $6::timestamptz[], $7::bigint[], $8::timestamptz[])
    as claim (workspace_id, scope, key, event_id, is_keyless, at, digest, expires_at)
 order by workspace_id, scope, key
on conflict do nothing
returning workspace_id, scope, key

-- claims_lock: lock these claims; their holders, and whether a holder's row is detached
select workspace_id, scope, key, event_id, is_keyless, at, digest, event_id < (select events_floor()) as is_detached
  from claims
 where (workspace_id, scope, key) in (select * from unnest($1::uuid[], $2::text[], $3::bytea[]))
 order by workspace_id, scope, key
   for no key update

-- claims_move: give locked keys to other events
update claims
   set event_id = claim.event_id, is_keyless = claim.is_keyless, at = claim.at, digest = claim.digest,
       expires_at = claim.expires_at
  from unnest($1::uuid[], $2::text[], $3::bytea[], $4::uuid[], $5::boolean[], $6::timestamptz[], $7::bigint[], $8::timestamptz[])
    as claim (workspace_id, scope, key, event_id, is_keyless, at, digest, expires_at)
 where (claims.workspace_id, claims.scope, claims.key) = (claim.workspace_id, claim.scope, claim.key)

-- aliases_put: make losing ids aliases of the winners; a winner is no alias
with winner as (
    delete from event_aliases where id = any($2::uuid[])
)
insert into event_aliases (id, event_id)
select * from unnest($1::uuid[], $2::uuid[]) as alias (id, event_id)
 order by id
on conflict (id) do update set event_id = excluded.event_id

-- aliases_name: make the ids by which leads name clicks aliases of these; known ones follow their click
insert into event_aliases (id, event_id)
select * from unnest($1::uuid[], $2::uuid[]) as alias (id, event_id)
 order by id
on conflict do nothing

-- aliases_move: move the aliases of former winners to the present ones
update event_aliases
   set event_id = moved.event_id
  from unnest($1::uuid[], $2::uuid[]) as moved (id, event_id)
 where event_aliases.event_id = moved.id
