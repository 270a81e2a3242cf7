-- list: all limits that are set, with the keys that some of them are for
select subject, per_minute, limits.created_at, api_keys.name as key_name, last_four
  from limits left join api_keys on api_keys.id::text = subject
 order by subject

-- set: so many requests a minute
insert into limits (subject, per_minute) values ($1, $2)
on conflict (subject) do update set per_minute = excluded.per_minute

-- clear: what the dialect says holds again; no row where nothing was set
delete from limits where subject = $1 returning per_minute

-- key: whether a key with this id works
select id from api_keys where id = $1 and revoked_at is null
