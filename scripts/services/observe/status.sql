-- epochs: the lives of the shards' streams, with the entries they were last seen to hold, or more where the ledger tells of more
select epoch, shard,
       greatest(entries_added,
                (select sum(recorded + repeats + quarantined)::bigint from ledger
                  where (ledger.epoch, ledger.shard) = (life.epoch, life.shard))) as entries_added
  from stream_epochs as life
 order by epoch

-- books: what became of the entries, all together
select coalesce(sum(recorded), 0)::bigint     as recorded,
       coalesce(sum(repeats), 0)::bigint      as repeats,
       coalesce(sum(quarantined), 0)::bigint  as quarantined,
       coalesce(sum(lost), 0)::bigint         as lost
  from ledger

-- ended: lives of streams that took along what is in no book, latest first: between when it was last counted and when the next began, more may have come than anybody knows
with kept as (
    select epoch, sum(recorded + repeats + quarantined)::bigint as settled,
           max(counted_at) filter (where consumer <> '') as settled_at
      from ledger
     group by epoch
), said as (
    select epoch, sum(appended)::bigint as appended from edge_appends group by epoch
), life as (
    select *, lead(born_at) over (partition by shard order by epoch) as ended_at from stream_epochs
)
select shard, epoch, greatest(entries_added, settled, appended) as entries, coalesce(settled, 0) as settled,
       greatest(entries_added, settled, appended, 0) - coalesce(settled, 0) as missing,
       seen_at as counted_at, settled_at, ended_at
  from life left join kept using (epoch) left join said using (epoch)
 where epoch <> all ($1::integer[]) and ended_at is not null
   and (greatest(entries_added, settled, appended, 0) > coalesce(settled, 0) or ended_at > now() - interval '7 days')
 order by ended_at desc, shard
 limit 16
