-- epochs: the epochs of the shards' streams: the entries they were last seen to hold, or more where the ledger has more; and how many events beyond the first of their entry are settled or lost
select epoch, shard, greatest(entries_added, settled - settled_beyond) as entries_added,
       coalesce(beyond_first, 0) as beyond_first
  from stream_epochs
  left join lateral (
        select sum(recorded + repeats + quarantined)::bigint as settled, sum(beyond_first)::bigint as settled_beyond,
               sum(beyond_first + lost_beyond_first)::bigint as beyond_first
          from ledger where (ledger.epoch, ledger.shard) = (stream_epochs.epoch, stream_epochs.shard)
       ) as kept on true
 order by epoch

-- edges: how many events beyond the first of their entry each edge was last seen to append, by epoch
select epoch, edge, beyond_first from edge_appends where beyond_first > 0

-- ledger: what became of the events, all together
select coalesce(sum(recorded), 0)::bigint     as recorded,
       coalesce(sum(repeats), 0)::bigint      as repeats,
       coalesce(sum(quarantined), 0)::bigint  as quarantined,
       coalesce(sum(lost), 0)::bigint         as lost
  from ledger

-- ended: epochs that ended with events that the ledger lacks, latest first: between when one was last counted and when the next began, more may have come than anybody knows
with kept as (
    select epoch, sum(recorded + repeats + quarantined)::bigint as settled, sum(beyond_first)::bigint as beyond_first,
           max(counted_at) filter (where consumer <> '') as settled_at
      from ledger
     group by epoch
), said as (
    select epoch, sum(appended)::bigint as appended, sum(beyond_first)::bigint as beyond_first
      from edge_appends group by epoch
), ended as (
    select *, lead(born_at) over (partition by shard order by epoch) as ended_at from stream_epochs
), counted as (
    select shard, epoch, seen_at as counted_at, settled_at, ended_at, coalesce(settled, 0) as settled,
           greatest(entries_added, settled - kept.beyond_first, appended, 0)
           + greatest(kept.beyond_first, said.beyond_first, 0) as entries
      from ended left join kept using (epoch) left join said using (epoch)
     where epoch <> all ($1::integer[]) and ended_at is not null
)
select shard, epoch, entries, settled, entries - settled as missing, counted_at, settled_at, ended_at
  from counted
 where entries > settled or ended_at > now() - interval '7 days'
 order by ended_at desc, shard
 limit 16
