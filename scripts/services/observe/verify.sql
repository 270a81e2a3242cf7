-- entries_table: a place for the events of acknowledged entries, gone with the connection
create temporary table acknowledged (
    epoch        integer   not null,
    shard        smallint  not null,
    entry_ms     bigint    not null,
    entry_seq    bigint    not null,
    entry_index  smallint  not null
)

-- counters: rows of a table of counters that are not the sums of their events
with wrong as ({wrong})
select '{what}' as what, name as key, counter, pair.expected, pair.found, count(*) over () as total
  from wrong
 cross join lateral unnest(array[{names}], wrong.expected, wrong.found) as pair (counter, expected, found)
 where pair.expected <> pair.found
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
       (select count(*) from ledger)            as ledger,
       (select count(*) from acknowledged)      as entries
