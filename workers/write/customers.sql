-- identified_add: create customers that have an external id; known ones are left alone
insert into customers (id, workspace_id, external_id, seen_at)
select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[])
    as customer (id, workspace_id, external_id, seen_at)
 order by workspace_id, external_id
on conflict (workspace_id, external_id) where external_id is not null do nothing
returning id

-- identified_ids: the ids of customers by external id
select customer.id, asked.workspace_id, asked.external_id
  from unnest($1::uuid[], $2::text[]) as asked (workspace_id, external_id)
 cross join lateral (
        select id from customers
         where workspace_id = asked.workspace_id and external_id = asked.external_id
        offset 0) as customer

-- customers_known: which of these ids are customers'
select id from customers where id = any($1::uuid[])

-- customers_reached: these customers under all their ids; of roots ($2) also the customers that they point at or whose leads with a key name their clicks; of roots and clicks that leads name ($3) those of the first leads ($4) without one; and which ids are roots
with family as (
    select named.id, asked.id = any($2::uuid[]) as is_root, asked.id = any($3::uuid[]) as is_named
      from unnest($1::uuid[]) as asked (id)
      left join lateral (select event_id from event_aliases where id = asked.id offset 0) as alias on true
     cross join lateral (
            select asked.id
            union all select alias.event_id where alias.event_id is not null
            union all select other.id from event_aliases other
                       where other.event_id = coalesce(alias.event_id, asked.id)
          ) as named
)
select id, is_root from family
union
select visitor.points_to, false
  from family
 cross join lateral (select points_to from customers where id = family.id offset 0) as visitor
 where family.is_root and visitor.points_to is not null
union
select lead.customer_id, false
  from family
 cross join lateral (
        select customer_id from events
         where click_id = family.id and kind <> 'click' and (api_key_id is null)::int = 0
         order by at, id
        offset 0) as lead
 where family.is_root and lead.customer_id is not null
union
select first.customer_id, false
  from family
 cross join lateral (
        select customer_id from events
         where click_id = family.id and kind <> 'click' and (api_key_id is null)::int = 1
         order by at, id
         limit $4
       ) as first
 where (family.is_root or family.is_named) and first.customer_id is not null

-- customers_lock: lock these customers in the order of their ids
select from customers where id = any($1::uuid[]) order by id for no key update

-- customers_merge: keep the latest value of every field, of events with a key if there is one, the earliest time seen, the latest day used, the furthest status; its own click decides a customer's workspace. Plain leads connect visitors with customers
with said as (
    select *
      from unnest($1::uuid[], $2::timestamptz[], $3::customer_status[], $4::customer_status[], $5::uuid[], $6::boolean[],
                  $7::text[], $8::boolean[], $9::timestamptz[], $10::uuid[],
                  $11::text[], $12::boolean[], $13::timestamptz[], $14::uuid[],
                  $15::text[], $16::boolean[], $17::timestamptz[], $18::uuid[], $19::date[],
                  $20::bytea[], $21::bytea[], $22::uuid[], $23::boolean[])
        as said (id, seen_at, status, keyed_status, workspace_id, is_certain,
                 name, name_by_key, name_at, name_by, email, email_by_key, email_at, email_by,
                 avatar, avatar_by_key, avatar_at, avatar_by, used_on, email_sealed, email_hash, points_to, is_bound)
), news as (
    select said.*,
           said.workspace_id <> customer.workspace_id
               and (said.is_certain
                    or said.workspace_id < customer.workspace_id
                       and customer.id >= (select events_floor())
                       and not exists (select from events click
                                        where click.kind = 'click' and not click.is_test
                                          and (click.id = customer.id
                                               or click.id = (select event_id from event_aliases
                                                               where event_aliases.id = customer.id)))
                   ) as is_owner,
           said.name is not null and (customer.name_at is null or (said.name_by_key, said.name_at, said.name_by, said.name collate "C")
               > (customer.name_by_key, customer.name_at, customer.name_by, customer.name collate "C")) as is_name,
           said.email_hash is not null and (customer.email_at is null
               or (said.email_by_key, said.email_at, said.email_by, coalesce(said.email_sealed, convert_to(said.email, 'UTF8')))
                  > (customer.email_by_key, customer.email_at, customer.email_by,
                     coalesce(customer.email_sealed, convert_to(customer.email, 'UTF8')))) as is_email,
           said.avatar is not null and (customer.avatar_at is null or (said.avatar_by_key, said.avatar_at, said.avatar_by, said.avatar collate "C")
               > (customer.avatar_by_key, customer.avatar_at, customer.avatar_by, customer.avatar collate "C")) as is_avatar
      from said join customers customer using (id)
)
update customers
   set seen_at = least(customers.seen_at, news.seen_at),
       used_on = greatest(customers.used_on, news.used_on),
       points_to = coalesce(news.points_to, customers.points_to),
       points_by_key = customers.points_by_key or news.points_to is not null,
       is_bound_by_key = customers.is_bound_by_key or news.is_bound,
       status = greatest(customers.status, news.status),
       keyed_status = greatest(customers.keyed_status, news.keyed_status),
       workspace_id = case when is_owner then news.workspace_id else customers.workspace_id end,
       name = case when is_name then news.name else customers.name end,
       name_by_key = case when is_name then news.name_by_key else customers.name_by_key end,
       name_at = case when is_name then news.name_at else customers.name_at end,
       name_by = case when is_name then news.name_by else customers.name_by end,
       email = case when is_email then news.email else customers.email end,
       email_sealed = case when is_email then news.email_sealed else customers.email_sealed end,
       email_hash = case when is_email then news.email_hash else customers.email_hash end,
       email_by_key = case when is_email then news.email_by_key else customers.email_by_key end,
       email_at = case when is_email then news.email_at else customers.email_at end,
       email_by = case when is_email then news.email_by else customers.email_by end,
       avatar = case when is_avatar then news.avatar else customers.avatar end,
       avatar_by_key = case when is_avatar then news.avatar_by_key else customers.avatar_by_key end,
       avatar_at = case when is_avatar then news.avatar_at else customers.avatar_at end,
       avatar_by = case when is_avatar then news.avatar_by else customers.avatar_by end
  from news
 where customers.id = news.id
   and (is_name or is_email or is_avatar or is_owner or news.is_bound or news.points_to is not null
        or news.seen_at < customers.seen_at or news.status > customers.status
        or news.keyed_status > customers.keyed_status
        or news.used_on > coalesce(customers.used_on, '-infinity'))

-- customers_point: point anonymous customers at the customer of the first lead that names their click, those with a key before all others; one of a detached month keeps its target, since its lead may be detached too
with person as (
    select customer.*, coalesce(alias.event_id, customer.id) as event_id
      from unnest($1::uuid[]) as asked (id)
     cross join lateral (
            select id, workspace_id, external_id, is_crowd, points_to, points_by_key
              from customers where id = asked.id
            offset 0) as customer
      left join lateral (select event_id from event_aliases where id = asked.id offset 0) as alias on true
     where customer.external_id is null
), pointing as (
    select person.id, person.points_to as pointed_to, person.points_by_key as pointed_by_key,
           earliest.customer_id, coalesce(not earliest.is_keyless, false) as is_by_key
      from person
      left join lateral (
            select lead.customer_id, lead.is_keyless
              from (select person.event_id as id
                    union all select id from event_aliases where event_id = person.event_id) as named
             cross join lateral (
                    select event.id, event.at, event.customer_id, event.api_key_id is null as is_keyless
                      from events event
                     where event.click_id = named.id and event.kind <> 'click' and not event.is_test
                       and event.workspace_id = person.workspace_id
                       and (event.api_key_id is not null or event.kind = 'lead' and not person.is_crowd)
                       and (select external_id from customers where id = event.customer_id) is not null
                     order by (event.api_key_id is null)::int, event.at, event.id
                     limit 1) as lead
             order by lead.is_keyless, lead.at, lead.id
             limit 1) as earliest on true
)
update customers
   set points_to = pointing.customer_id, points_by_key = pointing.is_by_key
  from pointing
 where customers.id = pointing.id
   and (pointing.pointed_to, pointing.pointed_by_key) is distinct from (pointing.customer_id, pointing.is_by_key)
   and (pointing.pointed_to is null or customers.id >= (select events_floor()))

-- customers_mark: mark customers of whom an event with a key names a click, and those whose events name more than $3 clicks as shared ids; unmark those that lost events ($2) and have no such events left; the ids that changed
with customer as (
    select found.*, found.id = any($2::uuid[]) as is_losing
      from unnest($1::uuid[]) as asked (id)
     cross join lateral (
            select id, external_id, is_bound_by_key, is_crowd from customers where id = asked.id
            offset 0) as found
     where found.external_id is not null
), bound as materialized (
    select customer.*,
           exists (select from events
                    where customer_id = customer.id and (api_key_id is null)::int = 0
                      and click_id is not null and kind <> 'click' and not is_test
                    order by click_id, id
                   offset 0)
           -- Its event may be detached.
           or is_bound_by_key and (not is_losing or id < (select events_floor())) as is_bound
      from customer
), counted as materialized (
    select bound.*,
           -- From one click to the next by the index: many events may name the same.
           (with recursive named (click_id, place) as (
                values (uuid '00000000-0000-0000-0000-000000000000', 0)
                union all
                select (select click_id from events
                         where customer_id = bound.id and (api_key_id is null)::int = (not bound.is_bound)::int
                           and click_id > named.click_id and kind <> 'click' and not is_test
                           and (bound.is_bound or kind = 'lead')
                         order by click_id, id
                         limit 1), place + 1
                  from named
                 where click_id is not null and place <= $3::bigint
            )
            select max(place) > $3::bigint from named where click_id is not null) as is_shared
      from bound
)
update customers
   set is_bound_by_key = counted.is_bound,
       is_crowd = counted.is_shared
                  or counted.is_crowd and counted.is_bound = counted.is_bound_by_key and not counted.is_losing
  from counted
 where customers.id = counted.id
   and (counted.is_bound_by_key <> counted.is_bound
        or counted.is_crowd and not counted.is_shared and counted.is_losing
        or not counted.is_crowd and counted.is_shared)
returning customers.id

-- customers_shared: which of these are shared ids
select asked.id
  from unnest($1::uuid[]) as asked (id)
 cross join lateral (select external_id, is_crowd from customers where id = asked.id offset 0) as customer
 where customer.is_crowd and customer.external_id is not null
