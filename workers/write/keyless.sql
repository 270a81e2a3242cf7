-- leads_replaced: whether another lead counts in place of a lead without an API key, of those that new and former leads concern: leads among these ($1), the first that names each of the clicks ($2), and those of customers ($3) who have leads with a key
with family as (
    select named.id
      from unnest($2::uuid[]) as asked (id)
      left join event_aliases alias on alias.id = asked.id
     cross join lateral (
            select coalesce(alias.event_id, asked.id) as id
            union all select id from event_aliases where event_id = coalesce(alias.event_id, asked.id)
          ) as named
), concerned as (
    select lead.id
      from unnest($1::uuid[]) as asked (id)
     cross join lateral (select id, kind, api_key_id, is_test from events where id = asked.id offset 0) as lead
     where lead.kind = 'lead' and lead.api_key_id is null and not lead.is_test
    union
    select first.id
      from family
     cross join lateral (
            select id from events
             where click_id = family.id and kind <> 'click' and (api_key_id is null)::int = 1
               and kind = 'lead' and not is_test and id >= (select events_floor()) and id <> all($1::uuid[])
             order by at, id
             limit 1
          ) as first
    union
    select lead.id
      from unnest($3::uuid[]) as customer (id)
     cross join lateral (
            select id, is_test from events
             where customer_id = customer.id and kind = 'lead' and api_key_id is null
            offset 0) as lead
     where not lead.is_test and lead.id >= (select events_floor())
)
select lead.id, judged.is_replaced
  from concerned
 cross join lateral (
        select id, at, workspace_id, click_id, customer_id, is_duplicate from events where id = concerned.id offset 0
       ) as lead
  left join lateral (select event_id from event_aliases where id = lead.click_id offset 0) as alias on true
  left join lateral (select is_crowd from customers where id = lead.customer_id offset 0) as customer on true
 cross join lateral (
        -- The rule of the view `keyless_leads`, for one lead.
        select exists (
                   select from (select coalesce(alias.event_id, lead.click_id) as id
                                union all select other.id from event_aliases other
                                           where other.event_id = coalesce(alias.event_id, lead.click_id)) as named
                    cross join lateral (
                          select (api_key_id is null)::int as is_keyless, at, id from events
                           where click_id = named.id and kind <> 'click'
                             and kind = 'lead' and not is_test and workspace_id = lead.workspace_id
                             and id >= (select events_floor())
                           order by (api_key_id is null)::int, at, id
                           limit 1) as other
                    where (other.is_keyless, other.at, other.id) < (1, lead.at, lead.id))
            or customer.is_crowd is false and exists (
                   select from events other
                    where other.customer_id = lead.customer_id and other.kind = 'lead' and other.kind <> 'click'
                      and other.api_key_id is not null and not other.is_test
                      and other.id >= (select events_floor())
                    order by other.at
                   offset 0) as is_replaced
       ) as judged
 where lead.is_duplicate <> judged.is_replaced

-- clicks_mark_shared: mark the visitors ($1) whose click leads without an API key name for more than $3 customers as shared, unmark those that lost leads ($2) and have fewer; the customers of such leads of those that changed
with visitor as (
    select customer.id, customer.is_crowd, named.id as named_id
      from customers customer
      left join event_aliases alias on alias.id = customer.id
     cross join lateral (
            select coalesce(alias.event_id, customer.id) as id
            union all select id from event_aliases where event_id = coalesce(alias.event_id, customer.id)
          ) as named
     where customer.id = any($1::uuid[]) and customer.external_id is null
), led as (
    select visitor.id, lead.customer_id
      from visitor
     cross join lateral (
            select customer_id from events
             where click_id = visitor.named_id and kind <> 'click' and (api_key_id is null)::int = 1
               and kind = 'lead' and not is_test and customer_id <> click_id
             order by at, id
             limit $3::bigint + 1
          ) as lead
), counted as (
    select visitor.id, count(distinct led.customer_id) > $3 as is_crowd
      from (select distinct id from visitor) as visitor left join led using (id)
     group by visitor.id
), marked as (
    update customers
       set is_crowd = counted.is_crowd
      from counted
     where customers.id = counted.id and customers.is_crowd <> counted.is_crowd
       and (counted.is_crowd or customers.id = any($2::uuid[]))
    returning customers.id
)
select distinct customer_id from led where id in (select id from marked)
