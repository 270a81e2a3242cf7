-- identified_add: create customers that have an external id; known ones are left alone
insert into customers (id, workspace_id, external_id, seen_at)
select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[])
    as customer (id, workspace_id, external_id, seen_at)
 order by workspace_id, external_id
on conflict (workspace_id, external_id) where external_id is not null do nothing

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

-- newly_named: the clicks ($2) that no event of the customer ($1) names except these ($3), or none with a key while one of these has one ($4); for shared ids none
select distinct said.click_id
  from unnest($1::uuid[], $2::uuid[], $4::boolean[]) as said (customer_id, click_id, is_keyless)
  left join customers customer on customer.id = said.customer_id
 where customer.is_crowd is not true
   and not exists (
           select from events
            where customer_id = said.customer_id and (api_key_id is null)::int in (0, said.is_keyless::int)
              and click_id = said.click_id and kind <> 'click' and not is_test and id <> all($3::uuid[])
           offset 0)

-- customers_lock: lock these customers in the order of their ids
select from customers where id = any($1::uuid[]) order by id for no key update

-- customers_merge: keep the latest value of every field, of events with a key if there is one, the earliest time seen, the latest day used, the furthest status; its own click decides a customer's workspace
with said as (
    select *
      from unnest($1::uuid[], $2::timestamptz[], $3::customer_status[], $4::customer_status[], $5::uuid[], $6::boolean[],
                  $7::text[], $8::boolean[], $9::timestamptz[], $10::uuid[],
                  $11::text[], $12::boolean[], $13::timestamptz[], $14::uuid[],
                  $15::text[], $16::boolean[], $17::timestamptz[], $18::uuid[], $19::date[],
                  $20::bytea[], $21::bytea[])
        as said (id, seen_at, status, keyed_status, workspace_id, is_certain,
                 name, name_by_key, name_at, name_by, email, email_by_key, email_at, email_by,
                 avatar, avatar_by_key, avatar_at, avatar_by, used_on, email_sealed, email_hash)
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
   and (is_name or is_email or is_avatar or is_owner
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
                   offset 0)
           -- Its event may be detached.
           or is_bound_by_key and (not is_losing or id < (select events_floor())) as is_bound
      from customer
), counted as materialized (
    select bound.*,
           (select count(*) > $3
              from (select from events
                     where customer_id = bound.id and (api_key_id is null)::int = (not bound.is_bound)::int
                       and click_id is not null and kind <> 'click' and not is_test
                     limit $3::bigint + 1) as naming)
           and (with recursive named (click_id, place) as (
                    values (uuid '00000000-0000-0000-0000-000000000000', 0)
                    union all
                    select (select click_id from events
                             where customer_id = bound.id and (api_key_id is null)::int = (not bound.is_bound)::int
                               and click_id > named.click_id and kind <> 'click' and not is_test
                               and (bound.is_bound or kind = 'lead')
                             order by click_id
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

-- first_visit: the time of the earliest click of the visitors who made these clicks
select min(click.at)
  from (select unnest($1::uuid[]) as id
        union select event_id from event_aliases where id = any($1::uuid[])
        union select other.id from event_aliases alias join event_aliases other using (event_id)
               where alias.id = any($1::uuid[])
        union select id from event_aliases where event_id = any($1::uuid[])) as root
 cross join lateral (
        select at from events where id = root.id and kind = 'click'
        union all
        (select at from events where click_id = root.id and kind = 'click' order by at, id limit 1)
       ) as click

-- leads_attribution: leads whose attribution differs from what the rows say, among those of customers ($1) or on clicks ($6) since a time ($2), and all that name clicks ($4), belong to customers ($5) or have ids ($7); attributions to detached rows stay. A lead without a key is earned by the visitor whose click it names and nobody else
with asked as (
    select lead.id
      from unnest($6::uuid[]) as click (id)
     cross join lateral (
            select id from events
             where click_id = click.id and kind <> 'click' and (api_key_id is null)::int in (0, 1)
               and at >= coalesce($2::timestamptz, '-infinity')
            offset 0) as lead
    union
    select lead.id
      from unnest($4::uuid[]) as click (id)
     cross join lateral (
            select id from events
             where click_id = click.id and kind <> 'click' and (api_key_id is null)::int in (0, 1)
            offset 0) as lead
    union
    select lead.id
      from (select unnest($1::uuid[]), coalesce($2::timestamptz, '-infinity')
            union all select unnest($5::uuid[]), '-infinity') as customer (id, since)
     cross join lateral (
            select id, api_key_id from events
             where customer_id = customer.id and kind <> 'click' and at >= customer.since
            offset 0) as lead
     where lead.api_key_id is not null
    union
    select unnest($7::uuid[])
), lead as (
    select event.*, coalesce(alias.event_id, event.click_id) as named_id, event.api_key_id is null as is_keyless,
           event.api_key_id is not null and not coalesce(whose.is_crowd, false) as is_persons,
           coalesce(whose.is_bound_by_key, false) as is_bound
      from asked
     cross join lateral (select * from events where id = asked.id offset 0) as event
      left join lateral (select event_id from event_aliases where id = event.click_id offset 0) as alias on true
      left join lateral (
            select is_crowd, is_bound_by_key from customers where id = event.customer_id offset 0) as whose on true
     where event.kind in ('lead', 'sale', 'deferred') and not event.is_test
       and event.id >= (select events_floor())
       and (event.attributed_id is null or event.attributed_id >= (select events_floor()))
)
select lead.id, lead.at, lead.digest, lead.kind, lead.is_test, lead.is_bot, lead.is_duplicate, lead.quantity,
       lead.epoch, lead.shard, lead.entry_ms, lead.entry_seq, lead.entry_index,
       lead.workspace_id, lead.link_id, lead.program_id, lead.partner_id, lead.click_id, lead.customer_id,
       lead.amount, lead.currency, lead.is_keyless, unverified.is_so as is_unverified,
       earned.id as earned_id, earned.link_id as earned_link_id,
       earned.program_id as earned_program_id, earned.partner_id as earned_partner_id
  from lead
  left join programs asked on asked.id = lead.asked_program_id
  left join lateral (
        -- Of every root its own click, and of its later clicks the first or the last, found
        -- by the index: a visitor may have very many.
        select click.id, click.at, click.link_id, click.program_id, click.partner_id
          from (select lead.click_id as id
                union select lead.named_id
                union select id from event_aliases where event_id = lead.named_id
                -- The clicks that its customer's own events name: several customers may name
                -- one click, and its visitor can point at one of them only. What has a key
                -- outranks what has none.
                union select each.id
                       from (select click_id, kind from events
                              where customer_id = lead.customer_id
                                and (api_key_id is null)::int = (not lead.is_bound)::int
                                and click_id is not null and kind <> 'click' and not is_test
                             offset 0) as said
                       left join lateral (
                             select event_id from event_aliases where id = said.click_id offset 0) as alias on true
                      cross join lateral (
                             select coalesce(alias.event_id, said.click_id) as id
                             union all
                             select id from event_aliases
                              where event_id = coalesce(alias.event_id, said.click_id)) as each
                      where lead.is_persons
                        and (lead.is_bound
                             or said.kind = 'lead'
                                and not exists (select from customers visitor
                                                 where visitor.id in (said.click_id, alias.event_id)
                                                   and visitor.is_crowd
                                                offset 0))
                union select id from customers
                       where points_to = lead.customer_id and lead.is_persons
                         and (points_by_key or not lead.is_bound)) as root
         cross join lateral (
                select own.id, own.at, own.link_id, own.program_id, own.partner_id
                  from events own left join programs program on program.id = own.program_id
                 where own.id = root.id and own.kind = 'click'
                   and (own.at <= lead.at or own.id = lead.named_id)
                   and own.at >= lead.at - make_interval(days => coalesce(program.attribution_window_days, $3))
                   and not own.is_test and own.workspace_id = lead.workspace_id
                   and (asked.id is null or own.program_id = asked.id)
                union all
                (select later.id, later.at, later.link_id, later.program_id, later.partner_id
                   from events later left join programs program on program.id = later.program_id
                  where later.click_id = root.id and later.kind = 'click'
                    and later.at between lead.at - make_interval(days => coalesce(asked.attribution_window_days, 365)) and lead.at
                    and later.at >= lead.at - make_interval(days => coalesce(program.attribution_window_days, $3))
                    and not later.is_test and later.workspace_id = lead.workspace_id
                    and (asked.id is null or later.program_id = asked.id)
                    and asked.model is distinct from 'first_click'
                  order by later.at desc, later.id desc
                  limit 1)
                union all
                (select later.id, later.at, later.link_id, later.program_id, later.partner_id
                   from events later
                  where later.click_id = root.id and later.kind = 'click'
                    and later.at between lead.at - make_interval(days => asked.attribution_window_days) and lead.at
                    and not later.is_test and later.workspace_id = lead.workspace_id
                    and later.program_id = asked.id
                    and asked.model = 'first_click'
                  order by later.at, later.id
                  limit 1)
               ) as click
         order by case when asked.model = 'first_click' then click.at end,
                  case when asked.model = 'first_click' then click.id end,
                  click.at desc, click.id desc
         limit 1
       ) as earned on true
 cross join lateral (
        select earned.id is not null and not lead.is_keyless and lead.click_id is null and not lead.is_bound as is_so
       ) as unverified
 where (lead.attributed_id, lead.link_id, lead.program_id, lead.partner_id, lead.is_unverified)
       is distinct from (earned.id, earned.link_id, earned.program_id, earned.partner_id, unverified.is_so)
   and (earned.id is not null or lead.attributed_id is null
        or lead.customer_id is null or lead.customer_id >= (select events_floor()))

-- leads_attribute: set what leads are attributed to
update events
   set attributed_id = earned.id, is_unverified = earned.is_unverified, link_id = earned.link_id,
       program_id = earned.program_id, partner_id = earned.partner_id
  from unnest($1::uuid[], $2::uuid[], $3::boolean[], $4::uuid[], $5::uuid[], $6::uuid[])
    as earned (lead_id, id, is_unverified, link_id, program_id, partner_id)
 where events.id = earned.lead_id
