-- tokens: clicks by a click id ($2) that another vendor issued, or by a short one, in a workspace or in all
select known.click_id as id
  from workspaces
 cross join lateral (
        select click_id from imported_clicks where workspace_id = workspaces.id and token = $2 offset 0) as known
 where $1::uuid is null or workspaces.id = $1

-- sessions: the latest events of a session ($2)
select id from events
 where session = $2 and ($1::uuid is null or workspace_id = $1)
 order by at desc, id desc
 limit $3

-- claims: events that hold one of these dedupe keys
select known.event_id as id
  from workspaces
 cross join unnest($2::text[], $3::bytea[]) as asked (scope, key)
 cross join lateral (
        select event_id from claims
         where workspace_id = workspaces.id and scope = asked.scope and key = asked.key
        offset 0) as known
 where $1::uuid is null or workspaces.id = $1

-- keys: the API keys of a workspace, or all
select key_hash from api_keys where $1::uuid is null or workspace_id = $1 order by id desc limit 1000

-- quarantined: of the latest entries in quarantine ($3), those in which some bytes ($2) stand
select payload
  from (select payload, workspace_id from quarantine where event_id is not null order by id desc limit $3) as latest
 where ($1::uuid is null or workspace_id = $1)
   and exists (select from unnest($2::bytea[]) as needle where position(needle in payload) > 0)
