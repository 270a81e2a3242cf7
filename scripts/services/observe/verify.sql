-- entries_table: a place for the events of acknowledged entries, gone with the transaction
create temporary table acknowledged (
    epoch        integer   not null,
    shard        smallint  not null,
    entry_ms     bigint    not null,
    entry_seq    bigint    not null,
    entry_index  smallint  not null
) on commit drop

-- counters: rows of a table of counters that are not the sums of their events
with wrong as ({wrong})
select '{what}' as what, name as key, counter, pair.expected, pair.found, count(*) over () as total
  from wrong
 cross join lateral unnest(array[{names}], wrong.expected, wrong.found) as pair (counter, expected, found)
 where pair.expected <> pair.found
 order by key, counter
 limit 20

-- facets: of each facet, days of links whose sums are not those of the counters, and days of workspaces whose sums are not those of their links. Buckets apart that are to be made anew
with made as materialized (
    select * from facets
     where not exists (select from dirty
                        where dirty.bucket = facets.bucket
                          and uuid7_floor(dirty.bucket::timestamp at time zone 'UTC') >= folded_floor())
), days as materialized (
    select link_id as side, day, array[{counter_sums}]::bigint[] as expected
      from (select link_id, day, {counters} from shares
             where id >= (select folded_floor())
               and not exists (select from dirty
                                where id >= uuid7_floor(bucket::timestamp at time zone 'UTC')
                                  and id < uuid7_floor((bucket + 1)::timestamp at time zone 'UTC'))
            union all
            select link_id, day, {counters} from counter_base) as counted
     group by link_id, day
), truth as (
    select facet, side, day, expected from days cross join unnest(array[{facets}]) as facet
    union all
    select facet, workspace_id, day, array[{counter_sums}]::bigint[]
      from made where link_id is not null
     group by facet, workspace_id, day
), sums as (
    select facet, coalesce(link_id, workspace_id) as side, day, array[{counter_sums}]::bigint[] as found
      from made
     where not is_test
     group by facet, link_id, workspace_id, day
)
select 'facet' as what, facet || ' ' || side || ' ' || day as key,
       counter, coalesce(pair.expected, 0) as expected, coalesce(pair.found, 0) as found, count(*) over () as total
  from truth full join sums using (facet, side, day)
 cross join lateral unnest(string_to_array('{counters}', ', '), truth.expected, sums.found) as pair (counter, expected, found)
 where coalesce(pair.expected, 0) <> coalesce(pair.found, 0)
 order by key, counter
 limit 20

-- duplicates: clicks whose flag is not what the clicks of their visitor before them say. Not those of times that are not kept or were counted by an earlier version, nor those whose window an erased click opened
with bounds as materialized (
    select greatest(case when quarter = 1 then to_timestamp(21600)
                         else to_timestamp(quarter * 21600.0) + interval '1 day' end,
                    (select max(until) + interval '1 hour' from detached_partitions)) as since
      from visits_since
), clicks as materialized (
    select id, at, link_id, visitor, is_duplicate, digest
      from events cross join bounds
     where kind = 'click' and not is_test and link_id is not null and at >= bounds.since - interval '1 hour'
), flags as (
    select id, at, link_id, is_duplicate::int::bigint as found,
           coalesce(at < max(at) filter (where not is_duplicate) over earlier + interval '1 hour', false)::int::bigint
               as expected
      from clicks
     where visitor is not null
    window earlier as (partition by link_id, visitor order by at, id rows between unbounded preceding and 1 preceding)
)
select 'click' as what, id::text as key, 'is_duplicate' as counter, expected, found, count(*) over () as total
  from flags cross join bounds
 where expected <> found and at >= bounds.since
   and not exists (select from clicks erased
                    where erased.visitor is null and erased.digest = 0 and not erased.is_duplicate
                      and erased.link_id = flags.link_id and erased.at <= flags.at
                      and erased.at > flags.at - interval '1 hour')
 order by key
 limit 20

-- keyless: leads without an API key whose flag is not what the leads of their click and customer say
select 'lead' as what, id::text as key, 'is_duplicate' as counter, is_replaced::int::bigint as expected,
       is_duplicate::int::bigint as found, count(*) over () as total
  from keyless_leads
 where is_duplicate <> is_replaced
 order by key
 limit 20

-- refunds: refunds that are not what their sale makes of them
select 'refund' as what, refund.id::text as key, 'amount' as counter, coalesce(due.amount, 0) as expected,
       coalesce(refund.amount, 0) as found, count(*) over () as total
  from (select distinct workspace_id, sale_key from events where sale_key is not null) as sale
 cross join lateral refunds_due(sale.workspace_id, sale.sale_key) as due
  join events refund on refund.id = due.id
 where refund.id >= (select events_floor())
   and (refund.customer_id, refund.link_id, refund.program_id, refund.partner_id,
        refund.quantity, refund.amount, refund.currency)
       is distinct from
       (due.customer_id, due.link_id, due.program_id, due.partner_id, due.quantity, due.amount, due.currency)
 order by key
 limit 20

-- ledger: shards whose ledger differs from the rows that were written
with kept as (
    select epoch, shard, sum(recorded)::bigint as recorded, sum(repeats)::bigint as repeats,
           sum(quarantined)::bigint as quarantined, sum(beyond_first)::bigint as beyond_first
      from ledger
     group by epoch, shard
), truth as (
    select epoch, shard, sum(recorded)::bigint as recorded, sum(repeats)::bigint as repeats,
           sum(quarantined)::bigint as quarantined, sum(beyond_first)::bigint as beyond_first
      from (select epoch, shard, count(*) as recorded, 0 as repeats, 0 as quarantined,
                   count(*) filter (where entry_index > 0) as beyond_first
              from events where id >= (select folded_floor()) group by epoch, shard
            union all
            select epoch, shard, recorded, 0, 0, beyond_first from ledger_base
            union all
            select epoch, shard, 0, count(*), 0, count(*) filter (where entry_index > 0)
              from repeats group by epoch, shard
            union all
            select epoch, shard, 0, 0, count(*), count(*) filter (where entry_index > 0) from quarantine
             where status <> 'redriven' group by epoch, shard
            union all
            select epoch, shard, 0, 0, count(*), count(*) filter (where entry_index > 0)
              from dropped_entries group by epoch, shard) as rows
     group by epoch, shard
)
select 'ledger' as what, 'epoch ' || epoch || ' shard ' || shard as key, counter, expected,
       found, count(*) over () as total
  from truth full join kept using (epoch, shard)
 cross join lateral (values
             ('recorded', coalesce(truth.recorded, 0), coalesce(kept.recorded, 0)),
             ('repeats', coalesce(truth.repeats, 0), coalesce(kept.repeats, 0)),
             ('quarantined', coalesce(truth.quarantined, 0), coalesce(kept.quarantined, 0)),
             ('beyond_first', coalesce(truth.beyond_first, 0), coalesce(kept.beyond_first, 0))
       ) as pair (counter, expected, found)
 where expected <> found
 order by key, counter
 limit 20

-- _place: of a row that tells of an acknowledged event
(other.epoch, other.shard, other.entry_ms, other.entry_seq, other.entry_index)
= (acknowledged.epoch, acknowledged.shard, acknowledged.entry_ms, acknowledged.entry_seq, acknowledged.entry_index)

-- entries: events of acknowledged entries that nothing tells of
select 'entry' as what,
       'epoch ' || epoch || ' shard ' || shard || ' ' || entry_ms || '-' || entry_seq
       || case when entry_index > 0 then ' ' || entry_index else '' end as key,
       'accounted' as counter, 1::bigint as expected, 0::bigint as found,
       count(*) over () as total
  from acknowledged
 where not exists (select from events as other
                    where {_place})
   and not exists (select from repeats as other
                    where {_place})
   and not exists (select from quarantine as other
                    where {_place})
   and not exists (select from dropped_entries as other
                    where {_place})
 order by epoch, shard, entry_ms, entry_seq, entry_index
 limit 20

-- sizes: how much was compared
select (select count(*) from links)             as links,
       (select count(*) from program_partners)  as program_partners,
       (select count(*) from link_days)         as link_days,
       (select count(*) from link_amounts)      as link_amounts,
       (select count(*) from program_partner_amounts)  as program_partner_amounts,
       (select count(*) from facets)            as facets,
       (select count(*) from ledger)            as ledger
