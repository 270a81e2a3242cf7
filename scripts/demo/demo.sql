-- only_one: let nobody else run the demo until the transaction ends; whether that was granted
select pg_try_advisory_xact_lock(hashtext('reftide demo'))

-- unlimited: the demo's own key sends as fast as it can, unless an operator said otherwise
insert into limits (subject, per_minute) values ($1::uuid::text, 10000000)
on conflict (subject) do nothing

-- top_links: the links of a run, the most clicked first
select links.code,
       count(*) filter (where kind = 'click' and not is_bot and not is_duplicate) as unique_clicks,
       count(*) filter (where kind = 'click')                                     as clicks,
       count(*) filter (where kind = 'click' and is_bot)                          as bots,
       count(*) filter (where kind = 'click' and is_duplicate)                    as duplicates,
       count(*) filter (where kind = 'lead' and not is_duplicate)                 as leads
  from events join links on links.id = events.link_id
 where events.id >= $1
   and coalesce(properties -> 'additional_data' ->> 'demo', properties ->> 'demo') = $2
 group by links.code
 order by unique_clicks desc, links.code
 limit $3

-- arrived: a run's events, with what became of their entries
with run as materialized (
    select id, kind, is_test, is_bot
      from events
     where id >= $1
       and coalesce(properties -> 'additional_data' ->> 'demo', properties ->> 'demo') = $2
)
select count(*) filter (where kind = 'click' and not is_test)             as clicks,
       count(*) filter (where kind = 'click' and not is_test and is_bot)  as bots,
       count(*) filter (where kind = 'click' and is_test)                 as tests,
       count(*) filter (where kind = 'lead')                              as leads,
       (select count(*)
          from repeats left join event_aliases on event_aliases.id = repeats.event_id
         where recorded_at >= $3
           and coalesce(event_aliases.event_id, repeats.event_id) in (select id from run)
       )                                                                  as repeats,
       (select count(*)
          from quarantine
         where first_seen >= $3 and status <> 'redriven'
           and position(convert_to($2, 'UTF8') in payload) > 0
       )                                                                  as quarantined
  from run

-- seen: where a run's people were and what they held, the most frequent first
with run as materialized (
    select country, browser, device, referrer_host
      from events
     where id >= $1
       and properties -> 'additional_data' ->> 'demo' = $2
       and kind = 'click' and not is_test and not is_bot
), counted as (
    select what, coalesce(name, '') as name, count(*) as clicks
      from run
     cross join lateral (values
                 ('countries', country::text),
                 ('browsers', browser),
                 ('devices', device),
                 ('referrers', referrer_host)
           ) as pair (what, name)
     group by what, pair.name
)
select what, name, clicks
  from (select *, row_number() over (partition by what order by clicks desc, name) as place
          from counted) as placed
 where place <= $3
 order by what, place
