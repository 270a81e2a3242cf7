-- Look-ups ask for one index: they name its columns in their order, and `offset 0` keeps each of
-- them a look-up by itself. Statistics that have seen no lead yet make all indexes of leads look
-- empty, and the planner would as soon read a whole one.

-- newly_named: the clicks ($2) that no event of the customer ($1) names except these ($3), or none with a key while one of these has one ($4); for shared ids none
select distinct said.click_id
  from unnest($1::uuid[], $2::uuid[], $4::boolean[]) as said (customer_id, click_id, is_keyless)
  left join customers customer on customer.id = said.customer_id
 where customer.is_crowd is not true
   and not exists (
           select from (select id from events
                         where customer_id = said.customer_id and (api_key_id is null)::int = 0
                           and click_id = said.click_id and kind <> 'click' and not is_test
                        union all
                        select id from events
                         where said.is_keyless and customer_id = said.customer_id and (api_key_id is null)::int = 1
                           and click_id = said.click_id and kind <> 'click' and not is_test
                        offset 0) as other
            where other.id <> all($3::uuid[]))

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
     cross join (values (0), (1)) as keyless (number)
     cross join lateral (
            select id from events
             where click_id = click.id and kind <> 'click' and (api_key_id is null)::int = keyless.number
               and at >= coalesce($2::timestamptz, '-infinity')
             order by at, id
            offset 0) as lead
    union
    select lead.id
      from unnest($4::uuid[]) as click (id)
     cross join lateral (
            select id from events where click_id = click.id and kind <> 'click'
             order by (api_key_id is null)::int, at, id
            offset 0) as lead
    union
    select lead.id
      from (select unnest($1::uuid[]), coalesce($2::timestamptz, '-infinity')
            union all select unnest($5::uuid[]), '-infinity') as customer (id, since)
     cross join lateral (
            select id, api_key_id from events
             where customer_id = customer.id and kind <> 'click' and at >= customer.since
             order by at
            offset 0) as lead
     where lead.api_key_id is not null
    union
    select unnest($7::uuid[])
), lead as (
    select event.*, coalesce(alias.event_id, event.click_id) as named_id, event.api_key_id is null as is_keyless,
           event.api_key_id is not null and not coalesce(whose.is_crowd, false) as is_persons,
           coalesce(whose.is_bound_by_key, false) as is_bound, {_asked} as asked_id
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
  left join programs asked on asked.id = lead.asked_id
  left join lateral (
        {_earned}
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

-- leads_earned: the clicks that earn new leads with an API key, which are not recorded yet
select lead.id, earned.id as attributed_id, earned.link_id, earned.program_id, earned.partner_id,
       earned.id is not null and lead.click_id is null and not lead.is_bound as is_unverified
  from (select said.*, coalesce(alias.event_id, said.click_id) as named_id,
               not coalesce(whose.is_crowd, false) as is_persons, coalesce(whose.is_bound_by_key, false) as is_bound
          from unnest($1::uuid[], $2::timestamptz[], $4::uuid[], $5::uuid[], $6::uuid[], $7::uuid[])
            as said (id, at, workspace_id, click_id, customer_id, asked_program_id)
          left join lateral (select event_id from event_aliases where id = said.click_id offset 0) as alias on true
          left join lateral (
                select is_crowd, is_bound_by_key from customers where id = said.customer_id offset 0) as whose on true
       ) as lead
  left join programs asked on asked.id = lead.asked_program_id
  left join lateral (
        {_earned}
       ) as earned on true

-- _asked: the program that `event` is confined to: of a lead that names its click by an id of its client's own (UUIDv8), the click's, which `alias` leads to
case when get_byte(uuid_send(event.click_id), 6) >> 4 = 8
     then (select program_id from events click where click.id = alias.event_id and click.kind = 'click')
     else event.asked_program_id end

-- _earned: the click that earns `lead`, which names `named_id` and asks for the program `asked`
-- Of every root its own click, and of its later clicks the first or the last, found
-- by the index: a visitor may have very many.
select click.id, click.at, click.link_id, click.program_id, click.partner_id
  from ({_roots}) as root
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

-- _roots: the visitors' first clicks that `lead` may be earned by, under all their ids
select lead.click_id as id
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
              order by click_id, id
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
         and (points_by_key or not lead.is_bound)
