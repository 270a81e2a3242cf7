-- add: make a user; nothing where the name is taken
insert into console_users (name, role, workspaces, password) values ($1, $2, $3, $4)
    on conflict (name) do nothing
returning id

-- list: users by name, with what they may see
select console_users.name, role, password is not null as has_password, created_at,
       case when console_users.workspaces is not null then
            (select coalesce(array_agg(name order by name), '{}') from workspaces where id = any (console_users.workspaces)) end as workspaces
  from console_users
 order by console_users.name

-- remove: a user, and its sessions
delete from console_users where name = $1 returning id

-- password: another password; sessions of the former one end
with changed as (
    update console_users set password = $2 where name = $1 returning id
), ended as (
    delete from console_sessions using changed where user_id = changed.id
)
select id from changed

-- named: a user by name
select id, name, role, workspaces, password from console_users where name = $1

-- sign_in: a session of twelve hours; what has expired goes
with expired as (
    delete from console_sessions where expires_at < now()
)
insert into console_sessions (token_hash, user_id, expires_at)
values ($1, $2, now() + interval '12 hours')

-- sign_out: end a session
delete from console_sessions where token_hash = $1

-- known: whose these keys are: of sessions that last, and of names that a proxy vouches for
select key, name, role, workspaces
  from (select 'session ' || encode(token_hash, 'hex') as key, user_id from console_sessions
         where token_hash = any ($1::bytea[]) and expires_at > now()
         union all
        select 'name ' || name, id from console_users where name = any ($2::text[])) as asked
  join console_users on console_users.id = user_id
