-- one: a customer, and what a sale would be attributed to that comes at a time ($2) with an API key and names no click
select customer.id, workspaces.name as workspace, customer.external_id, customer.name, customer.status::text,
       customer.keyed_status::text, customer.seen_at as first_seen, customer.used_on as last_named_by_key,
       customer.email_hash is not null as has_email, customer.is_crowd as is_shared, customer.erased_at,
       earned.id as click, earned.at as clicked_at, links.code as link, programs.number as program,
       partners.code as partner, customer.is_bound_by_key
  from customers customer
  left join workspaces on workspaces.id = customer.workspace_id
 cross join lateral (
        select customer.id as customer_id, customer.workspace_id, $2::timestamptz as at, visitor.id as click_id,
               visitor.id as named_id, not customer.is_crowd as is_persons, customer.is_bound_by_key as is_bound
          from (select case when customer.external_id is null then customer.id end as id) as visitor) as lead
  left join programs asked on false
  left join lateral (
        {earned}) as earned on true
  left join links on links.id = earned.link_id
  left join programs on programs.id = earned.program_id
  left join partners on partners.id = earned.partner_id
 where customer.id = $1

-- bindings: the clicks ($2) of a customer's ($1) visitors; by which of its events each was named first, with an API key rather than without
select click.id as click, click.at as clicked_at, links.code as link, programs.number as program,
       partners.code as partner,
       click.at + make_interval(days => coalesce(programs.attribution_window_days, $3)) as earns_until,
       naming.id as named_by, naming.kind::text, naming.at as named_at, naming.keyless = 0 as is_keyed,
       customer.is_bound_by_key and naming.keyless = 1 as is_outranked
  from customers customer
 cross join unnest($2::uuid[]) as asked (id)
 cross join lateral (select * from events where id = asked.id and kind = 'click' offset 0) as click
  left join lateral (
        select said.*
          from (select click.id union select id from event_aliases where event_id = click.id) as named
         cross join (values (0), (1)) as keyless (number)
         cross join lateral (
                select id, kind, at, keyless.number as keyless from events
                 where customer_id = $1 and (api_key_id is null)::int = keyless.number
                   and click_id = named.id and kind <> 'click' and not is_test
                 order by id limit 1) as said
         order by said.keyless, said.at, said.id
         limit 1) as naming on true
  left join links on links.id = click.link_id
  left join programs on programs.id = click.program_id
  left join partners on partners.id = click.partner_id
 where customer.id = $1
 order by click.at desc, click.id desc
