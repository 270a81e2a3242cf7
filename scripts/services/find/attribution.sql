-- lead: what the attribution of a lead or sale depends on; no row for other events
select event.id, event.at, event.click_id, event.customer_id, event.link_id, event.attributed_id, event.is_unverified,
       event.api_key_id is not null as is_keyed, coalesce(whose.is_crowd, false) as is_shared,
       asked.number as program, coalesce(asked.model, 'last_click')::text as model,
       asked.attribution_window_days as window_days
  from events event
  left join customers whose on whose.id = event.customer_id
  left join event_aliases alias on alias.id = event.click_id
  left join programs asked on asked.id = {asked}
 where event.id = $1 and event.kind in ('lead', 'sale', 'deferred')

-- candidates: the clicks that a lead ($1) may be earned by, latest first, of a visitor's very many some ($2), and why one may not
with lead as materialized (
    select event.id, event.at, event.workspace_id, event.click_id, event.customer_id, {asked} as asked_program_id,
           event.attributed_id, coalesce(alias.event_id, event.click_id) as named_id,
           event.api_key_id is not null and not coalesce(whose.is_crowd, false) as is_persons,
           coalesce(whose.is_bound_by_key, false) as is_bound
      from events event
      left join event_aliases alias on alias.id = event.click_id
      left join customers whose on whose.id = event.customer_id
     where event.id = $1
), click as (
    select each.*
      from lead
     cross join lateral (
            {roots}) as root
     cross join lateral (
            select * from events where id = root.id and kind = 'click'
            union all
            (select * from events where click_id = root.id and kind = 'click' and at <= lead.at
              order by at desc, id desc limit $2)
            union all
            (select * from events
              where click_id = root.id and kind = 'click' and at >= lead.at - interval '365 days'
              order by at, id limit $2)
           ) as each
    union
    select events.* from lead join events on events.id = lead.attributed_id
)
select click.id as click, click.at, links.code as link, partners.code as partner, programs.number as program,
       coalesce(programs.attribution_window_days, $3) as window_days, click.is_test,
       click.workspace_id <> lead.workspace_id as is_of_another_workspace,
       lead.asked_program_id is not null and click.program_id is distinct from lead.asked_program_id as is_of_another_program,
       click.at > lead.at and click.id is distinct from lead.named_id as is_later,
       click.at < lead.at - make_interval(days => coalesce(programs.attribution_window_days, $3)) as is_expired
  from click
 cross join lead
  left join links on links.id = click.link_id
  left join partners on partners.id = click.partner_id
  left join programs on programs.id = click.program_id
 order by click.at desc, click.id desc
