-- customers_changed: queue these customers; where only clicks came, those with a later lead or one that names a click
insert into directory_changes (topic, ref)
select 'customer', customer.workspace_id || ' ' || customer.external_id
  from unnest($1::uuid[]) as asked (id)
 cross join lateral (select workspace_id, external_id from customers where id = asked.id offset 0) as customer
 where customer.external_id is not null
   and ($2::timestamptz is null
        or exists (select from events
                    where customer_id = asked.id and kind <> 'click' and at >= $2
                    order by at
                   offset 0)
        or exists (select from (select click_id from events
                                 where customer_id = asked.id and click_id is not null
                                   and kind <> 'click' and not is_test
                                 order by (api_key_id is null)::int, click_id, id
                                offset 0) as said
                    where click_id = any($3::uuid[])))

-- customers_named: queue customers by their workspaces and external ids
insert into directory_changes (topic, ref) select 'customer', unnest($1::text[])

-- stats_changed: queue the stats of these links' partners, in programs that have stats
insert into directory_changes (topic, ref)
select distinct 'stats', partners.workspace_id || ' ' || partners.code
  from links
  join programs on programs.id = links.program_id and programs.has_stats
  join partners on partners.id = links.partner_id
 where links.id = any($1::uuid[])

-- tokens_keep: store short click ids with their clicks, as long as those may earn; a known one stays as it is
insert into imported_clicks (workspace_id, token, click_id, link_id, expires_at)
select click.workspace_id, token, click_id, link_id,
       uuid7_time(click_id) + make_interval(days => coalesce(program.attribution_window_days, $5::integer))
  from unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[])
    as click (workspace_id, token, click_id, link_id)
  join links link on link.id = click.link_id
  left join programs program on program.id = link.program_id
 order by workspace_id, token, click_id
on conflict do nothing
