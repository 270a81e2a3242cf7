-- list: domains, all or one workspace's
select domain, workspaces.name as workspace,
       (select count(*) from links where namespace = 'd:' || domains.domain) as links,
       schemes, is_case_sensitive, domains.created_at
  from domains join workspaces on workspaces.id = workspace_id
 where ($1::uuid is null or workspace_id = $1) and ($2::text is null or domain > $2)
 order by domain

-- named: one domain
select domain, workspace_id, workspaces.name as workspace,
       (select count(*) from links where namespace = 'd:' || domains.domain) as links,
       schemes, is_case_sensitive, domains.created_at
  from domains join workspaces on workspaces.id = workspace_id
 where domain = $1

-- add: a new domain; no row where it is known already
insert into domains (domain, workspace_id) values ($1, $2)
on conflict do nothing
returning domain

-- set: change what is given, keep what is null
update domains
   set schemes = coalesce($2, schemes),
       is_case_sensitive = coalesce($3, is_case_sensitive)
 where domain = $1

-- remove: forget a domain that no link uses
delete from domains where domain = $1
