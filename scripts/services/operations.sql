-- note: an act that is done
insert into operations (who, workspace_id, what, arguments, result, state, ended_at)
values ($1, $2, $3, $4::text::jsonb, $5::text::jsonb, 'done', now())
returning id

-- begin: an act that no transaction of ours can hold
insert into operations (who, what, arguments) values ($1, $2, $3::text::jsonb) returning id

-- end: what became of it
update operations set state = $2, result = $3::text::jsonb, ended_at = now() where id = $1

-- list: acts, the latest first, before a number where one is given
select operations.id, at, who, what, state, workspaces.name as workspace
  from operations left join workspaces on workspaces.id = workspace_id
 where $1::bigint is null or operations.id < $1
 order by operations.id desc
 limit $2

-- one: everything about one of them
select operations.id, at, who, what, state, workspaces.name as workspace, ended_at,
       arguments::text, result::text
  from operations left join workspaces on workspaces.id = workspace_id
 where operations.id = $1
