-- list: every workspace with what it holds, oldest first
select id, name, created_at,
       (select count(*) from programs where workspace_id = workspaces.id)   as programs,
       (select count(*) from partners where workspace_id = workspaces.id)   as partners,
       (select count(*) from links where workspace_id = workspaces.id)      as links,
       (select count(*) from api_keys
         where workspace_id = workspaces.id and revoked_at is null)         as keys
  from workspaces
 order by created_at, id

-- few: at most five workspaces, oldest first: enough to choose the only one
select id, name from workspaces order by created_at, id limit 5

-- named: a workspace by name
select id, name from workspaces where name = $1

-- add: a new workspace; no row where the name is taken
insert into workspaces (id, name) values ($1, $2)
on conflict (name) do nothing
returning id, name, created_at

-- visible: the workspaces of these ids; all, where there are none to choose from
select id, name from workspaces where $1::uuid[] is null or id = any ($1) order by name
