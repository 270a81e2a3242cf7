-- entries_table: a place for the ids of acknowledged entries, gone with the connection
create temporary table acknowledged (
    epoch      integer   not null,
    shard      smallint  not null,
    entry_ms   bigint    not null,
    entry_seq  bigint    not null
)

-- links: links whose counters are not the sums of their events
with truth as (
    select link_id as id, sum(clicks)::bigint as clicks,
           sum(bot_clicks)::bigint as bot_clicks,
           sum(duplicate_clicks)::bigint as duplicate_clicks,
           sum(leads)::bigint as leads, sum(sales)::bigint as sales
      from contributions
     group by link_id
)
select 'link' as what, coalesce(kept.public_id, id::text) as key, counter, expected, found,
       count(*) over () as total
  from truth full join links as kept using (id)
 cross join lateral (values
             ('clicks', coalesce(truth.clicks, 0), coalesce(kept.clicks, 0)),
             ('bot_clicks', coalesce(truth.bot_clicks, 0), coalesce(kept.bot_clicks, 0)),
             ('duplicate_clicks', coalesce(truth.duplicate_clicks, 0), coalesce(kept.duplicate_clicks, 0)),
             ('leads', coalesce(truth.leads, 0), coalesce(kept.leads, 0)),
             ('sales', coalesce(truth.sales, 0), coalesce(kept.sales, 0))
       ) as pair (counter, expected, found)
 where expected <> found
 order by key, counter
 limit 20

-- program_partners: enrolments whose counters are not the sums of their events
with truth as (
    select program_id, partner_id, sum(clicks)::bigint as clicks,
           sum(bot_clicks)::bigint as bot_clicks,
           sum(duplicate_clicks)::bigint as duplicate_clicks,
           sum(leads)::bigint as leads, sum(sales)::bigint as sales
      from contributions
     where program_id is not null and partner_id is not null
     group by program_id, partner_id
)
select 'program_partner' as what, program_id || ' ' || partner_id as key, counter, expected,
       found, count(*) over () as total
  from truth full join program_partners as kept using (program_id, partner_id)
 cross join lateral (values
             ('clicks', coalesce(truth.clicks, 0), coalesce(kept.clicks, 0)),
             ('bot_clicks', coalesce(truth.bot_clicks, 0), coalesce(kept.bot_clicks, 0)),
             ('duplicate_clicks', coalesce(truth.duplicate_clicks, 0), coalesce(kept.duplicate_clicks, 0)),
             ('leads', coalesce(truth.leads, 0), coalesce(kept.leads, 0)),
             ('sales', coalesce(truth.sales, 0), coalesce(kept.sales, 0))
       ) as pair (counter, expected, found)
 where expected <> found
 order by key, counter
 limit 20

-- link_days: links' days whose counters are not the sums of their events
with truth as (
    select link_id, day, sum(clicks)::bigint as clicks,
           sum(bot_clicks)::bigint as bot_clicks,
           sum(duplicate_clicks)::bigint as duplicate_clicks,
           sum(leads)::bigint as leads, sum(sales)::bigint as sales
      from contributions
     group by link_id, day
)
select 'link_day' as what, link_id || ' ' || day as key, counter, expected,
       found, count(*) over () as total
  from truth full join link_days as kept using (link_id, day)
 cross join lateral (values
             ('clicks', coalesce(truth.clicks, 0), coalesce(kept.clicks, 0)),
             ('bot_clicks', coalesce(truth.bot_clicks, 0), coalesce(kept.bot_clicks, 0)),
             ('duplicate_clicks', coalesce(truth.duplicate_clicks, 0), coalesce(kept.duplicate_clicks, 0)),
             ('leads', coalesce(truth.leads, 0), coalesce(kept.leads, 0)),
             ('sales', coalesce(truth.sales, 0), coalesce(kept.sales, 0))
       ) as pair (counter, expected, found)
 where expected <> found
 order by key, counter
 limit 20

-- link_amounts: links whose sales are not worth what their events say, in minor units
with truth as (
    select link_id, currency, sum(amount)::bigint as amount
      from contributions
     where currency is not null
     group by link_id, currency
)
select 'link_amount' as what, coalesce(links.public_id, link_id::text) || ' ' || currency as key,
       'amount' as counter, coalesce(truth.amount, 0) as expected, coalesce(kept.amount, 0) as found,
       count(*) over () as total
  from truth full join link_amounts as kept using (link_id, currency)
  left join links on links.id = link_id
 where coalesce(truth.amount, 0) <> coalesce(kept.amount, 0)
 order by key
 limit 20

-- program_partner_amounts: enrolments whose sales are not worth what their events say
with truth as (
    select program_id, partner_id, currency, sum(amount)::bigint as amount
      from contributions
     where program_id is not null and partner_id is not null and currency is not null
     group by program_id, partner_id, currency
)
select 'program_partner_amount' as what, program_id || ' ' || partner_id || ' ' || currency as key,
       'amount' as counter, coalesce(truth.amount, 0) as expected, coalesce(kept.amount, 0) as found,
       count(*) over () as total
  from truth full join program_partner_amounts as kept using (program_id, partner_id, currency)
 where coalesce(truth.amount, 0) <> coalesce(kept.amount, 0)
 order by key
 limit 20

-- ledger: shards whose books differ from the rows that were written
with kept as (
    select epoch, shard, sum(recorded)::bigint as recorded, sum(repeats)::bigint as repeats,
           sum(quarantined)::bigint as quarantined
      from ledger
     group by epoch, shard
), truth as (
    select epoch, shard, sum(recorded)::bigint as recorded, sum(repeats)::bigint as repeats,
           sum(quarantined)::bigint as quarantined
      from (select epoch, shard, count(*) as recorded, 0 as repeats, 0 as quarantined
              from events where id >= (select folded_floor()) group by epoch, shard
            union all
            select epoch, shard, recorded, 0, 0 from ledger_base
            union all
            select epoch, shard, 0, count(*), 0 from repeats group by epoch, shard
            union all
            select epoch, shard, 0, 0, count(*) from quarantine
             where status <> 'redriven' group by epoch, shard
            union all
            select epoch, shard, 0, 0, count(*) from dropped_entries group by epoch, shard) as rows
     group by epoch, shard
)
select 'ledger' as what, 'epoch ' || epoch || ' shard ' || shard as key, counter, expected,
       found, count(*) over () as total
  from truth full join kept using (epoch, shard)
 cross join lateral (values
             ('recorded', coalesce(truth.recorded, 0), coalesce(kept.recorded, 0)),
             ('repeats', coalesce(truth.repeats, 0), coalesce(kept.repeats, 0)),
             ('quarantined', coalesce(truth.quarantined, 0), coalesce(kept.quarantined, 0))
       ) as pair (counter, expected, found)
 where expected <> found
 order by key, counter
 limit 20

-- entries: acknowledged entries that nothing tells of
select 'entry' as what,
       'epoch ' || epoch || ' shard ' || shard || ' ' || entry_ms || '-' || entry_seq as key,
       'accounted' as counter, 1::bigint as expected, 0::bigint as found,
       count(*) over () as total
  from acknowledged
 where not exists (select from events as other
                    where (other.epoch, other.shard, other.entry_ms, other.entry_seq)
                        = (acknowledged.epoch, acknowledged.shard, acknowledged.entry_ms, acknowledged.entry_seq))
   and not exists (select from repeats as other
                    where (other.epoch, other.shard, other.entry_ms, other.entry_seq)
                        = (acknowledged.epoch, acknowledged.shard, acknowledged.entry_ms, acknowledged.entry_seq))
   and not exists (select from quarantine as other
                    where (other.epoch, other.shard, other.entry_ms, other.entry_seq)
                        = (acknowledged.epoch, acknowledged.shard, acknowledged.entry_ms, acknowledged.entry_seq))
   and not exists (select from dropped_entries as other
                    where (other.epoch, other.shard, other.entry_ms, other.entry_seq)
                        = (acknowledged.epoch, acknowledged.shard, acknowledged.entry_ms, acknowledged.entry_seq))
 order by epoch, shard, entry_ms, entry_seq
 limit 20

-- sizes: how much was compared
select (select count(*) from links)             as links,
       (select count(*) from program_partners)  as program_partners,
       (select count(*) from link_days)         as link_days,
       (select count(*) from link_amounts)      as link_amounts,
       (select count(*) from program_partner_amounts)  as program_partner_amounts,
       (select count(*) from ledger)            as ledger,
       (select count(*) from acknowledged)      as entries
