-- list: domains, all or one workspace's
select domain, workspaces.name as workspace,
       (select count(*) from links where namespace = 'd:' || domains.domain) as links,
       domains.created_at
  from domains join workspaces on workspaces.id = workspace_id
 where $1::uuid is null or workspace_id = $1
 order by domain

-- named: one domain
select domain, workspace_id, workspaces.name as workspace,
       (select count(*) from links where namespace = 'd:' || domains.domain) as links,
       domains.created_at
  from domains join workspaces on workspaces.id = workspace_id
 where domain = $1

-- add: a new domain; no row where it is known already
insert into domains (domain, workspace_id) values ($1, $2)
on conflict do nothing
returning domain

-- remove: forget a domain that no link uses
delete from domains where domain = $1
