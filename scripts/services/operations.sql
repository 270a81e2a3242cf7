-- note: an act that is done
insert into operations (who, workspace_id, what, arguments, result, state, ended_at)
values ($1, $2, $3, $4::text::jsonb, $5::text::jsonb, 'done', now())
returning id

-- begin: an act that no transaction of ours can hold
insert into operations (who, what, arguments) values ($1, $2, $3::text::jsonb) returning id

-- end: what became of it
update operations set state = $2, result = $3::text::jsonb, ended_at = now() where id = $1

-- alone: wait for others who send the same form
select pg_advisory_xact_lock(hashtextextended('console press ' || $1, 0))

-- pressed: the act that this form was sent for, within a day
select id from operations
 where at > now() - interval '1 day' and arguments ->> 'press' = $1 and who = $2
 order by id desc limit 1

-- list: acts, the latest first, before a number, by somebody, of a kind, with a state, where one is given
select operations.id, at, who, what, state, workspaces.name as workspace
  from operations left join workspaces on workspaces.id = workspace_id
 where ($1::bigint is null or operations.id < $1)
   and ($3::text is null or strpos(lower(who), lower($3)) > 0)
   and ($4::text is null or strpos(lower(what), lower($4)) > 0)
   and ($5::text is null or state = $5)
 order by operations.id desc
 limit $2

-- one: everything about one of them
select operations.id, at, who, what, state, workspaces.name as workspace, ended_at,
       arguments::text, result::text
  from operations left join workspaces on workspaces.id = workspace_id
 where operations.id = $1
