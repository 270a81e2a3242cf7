-- events_begin: from which event to which one properties of a former release are looked for; the latest one is set once
update email_key
   set events_end = coalesce(events_end, (select id from events order by id desc limit 1), events_reached)
returning events_reached, events_end

-- events_reached: they were looked for up to an event
update email_key set events_reached = $1

-- window_end: the end of the next $3 events after one ($1) and up to another ($2)
select coalesce((select id from events where id > $1 and id <= $2 order by id offset $3 limit 1), $2)

-- events_in: events whose properties have the SHA-256 of an address
select id, properties ->> 'email_sha256' as digits from events
 where id > $1 and id <= $2 and kind <> 'click' and properties ? 'email_sha256'
 order by id for no key update

-- events_set: put keyed hashes in the place of that property
update events set email_hash = found.hash, properties = nullif(events.properties - 'email_sha256', '{}')
  from unnest($1::uuid[], $2::bytea[]) as found (id, hash)
 where events.id = found.id

-- events_forget: remove the next $1 hashes of addresses
update events set email_hash = null
 where id in (select id from events where email_hash is not null order by id limit $1 for no key update)
returning id

-- customers_page: customers after one ($1) whose address is not stored as chosen ($2)
select id, workspace_id, external_id, email, email_sealed from customers
 where id > $1
   and case $2 when 'encrypted' then email is not null
               when 'plain' then email_sealed is not null or (email is not null and email_hash is null)
               else num_nonnulls(email, email_sealed, email_hash) > 0 end
 order by id limit $3 for no key update

-- customers_set: store addresses anew, and have edges told
with changed as (
    update customers set email = found.email, email_sealed = found.sealed, email_hash = found.hash
      from unnest($1::uuid[], $2::text[], $3::bytea[], $4::bytea[]) as found (id, email, sealed, hash)
     where customers.id = found.id
    returning workspace_id, external_id
)
insert into directory_changes (topic, ref)
select 'customer', workspace_id || ' ' || external_id from changed where external_id is not null
