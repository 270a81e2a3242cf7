-- by_customer: events of these customers ($10) and of visitors by their first clicks ($11), latest first, from before an event of a time ($7) and id ($8)
select {_columns}
  from (select own.*
          from unnest($10::uuid[]) as customer (id)
         cross join lateral (
                select * from events
                 where customer_id = customer.id and kind <> 'click' and {_filter}
                 order by at desc, id desc
                 limit $9) as own
        union
        select first.*
          from unnest($11::uuid[]) as click (id)
         cross join lateral (
                select * from events
                 where id = click.id and kind = 'click' and {_filter}
                offset 0) as first
        union
        select later.*
          from unnest($11::uuid[]) as click (id)
         cross join lateral (
                select * from events
                 where click_id = click.id and kind = 'click' and {_filter}
                 order by at desc, id desc
                 limit $9) as later) as event
{_names}
 order by event.at desc, event.id desc
 limit $9

-- by_time: the same of everybody
select {_columns}
  from (select * from events
         where {_filter}
         order by at desc, id desc
         limit $9) as event
{_names}
 order by event.at desc, event.id desc

-- by_ids: events with these ids
select {_columns}
  from (select * from events where id = any($1::uuid[])) as event
{_names}
 order by event.at desc, event.id desc

-- news: events recorded since a time ($12), less the known ones ($13), in the order of recording
select {_columns}
  from (select * from events
         where recorded_at >= $12 and id <> all($13::uuid[]) and {_filter}
           and ($10::uuid[] is null or customer_id = any($10) or id = any($11::uuid[]) or click_id = any($11))
         order by recorded_at, id
         limit $9) as event
{_names}
 order by event.recorded_at, event.id

-- present: the present time of the database
select clock_timestamp()

-- place: the time of an event
select at from events where id = $1

-- _columns: what is shown of an event
event.id, event.at, event.kind::text, event.is_test, event.is_bot, event.is_duplicate,
event.is_unverified or event.kind <> 'click' and event.api_key_id is null as is_unverified,
event.quantity, event.dialect, event.name, event.amount, event.currency, workspaces.name as workspace,
links.code as link, programs.number as program, partners.code as partner, customers.external_id as customer,
event.customer_id, event.click_id, event.attributed_id, event.session, event.country, event.device, event.recorded_at

-- _names: what its ids stand for
  left join workspaces on workspaces.id = event.workspace_id
  left join links on links.id = event.link_id
  left join programs on programs.id = event.program_id
  left join partners on partners.id = event.partner_id
  left join customers on customers.id = event.customer_id

-- _filter: of a workspace, partner, kind and link, since and before a time
($1::uuid is null or workspace_id = $1) and ($2::uuid is null or partner_id = $2)
and ($3::text is null or kind = $3::text::event_kind) and ($4::uuid is null or link_id = $4)
and at >= coalesce($5::timestamptz, '-infinity') and at < coalesce($6::timestamptz, 'infinity')
and (at, id) < (coalesce($7::timestamptz, 'infinity'), coalesce($8::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
