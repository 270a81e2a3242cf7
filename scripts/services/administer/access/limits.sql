-- list: the limits that are known, by name, whom they count, their default and who says it, then all others that are set; with the keys that some of them are for
select subject, coalesce(known.of, 'key') as of, per_minute, known."default",
       case when per_minute is null then source else 'operator' end as source,
       trim(api_keys.name || ' …' || last_four) as key, limits.created_at
  from unnest($1::text[], $2::text[], $3::integer[], $4::text[])
       with ordinality as known (subject, of, "default", source, place)
  full join limits using (subject)
  left join api_keys on api_keys.id::text = subject
 order by place, subject

-- set: so many requests a minute
insert into limits (subject, per_minute) values ($1, $2)
on conflict (subject) do update set per_minute = excluded.per_minute

-- clear: what the vendor says, or the default, holds again; no row where nothing was set
delete from limits where subject = $1 returning per_minute

-- key: whether a key with this id works
select id from api_keys where id = $1 and revoked_at is null
