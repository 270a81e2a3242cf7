-- epochs: the epochs of the shards' streams: the entries they were last seen to hold, or more where the ledger has more; and how many events beyond the first of their entry are settled or lost
select epoch, shard, greatest(entries_added, settled - settled_beyond) as entries_added, vanished,
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

-- losses: what was lost of each epoch, in events; how much at most, null if nobody knows; between which moments, and when it was counted. `is_recent`: within seven days
select open_epochs.epoch, open_epochs.shard, coalesce(lost, 0) as lost,
       case when not open_epochs.is_open then at_most end as at_most,
       coalesce(lost_since, case when is_ended then seen_at when open_epochs.is_open then run_since end) as since, counted_at as until,
       coalesce(counted_at, now()) > now() - interval '7 days' as is_recent
  from open_epochs
  join stream_epochs using (epoch)
  left join lateral (
        select sum(lost)::bigint as lost, max(counted_at) filter (where consumer = '') as counted_at,
               coalesce(sum(recorded + repeats + quarantined - beyond_first), 0)::bigint as settled
          from ledger where (ledger.epoch, ledger.shard) = (open_epochs.epoch, open_epochs.shard)
       ) as kept on true
 cross join lateral (
        select coalesce(sum(appended), 0)::bigint as appended, coalesce(sum(unsure), 0)::bigint as unsure
          from edge_appends where edge_appends.epoch = open_epochs.epoch
       ) as edges
 cross join lateral (
        select exists (select from stream_epochs as later
                        where later.shard = open_epochs.shard and later.epoch > open_epochs.epoch) as is_ended
       ) as life
 cross join lateral (
        -- Of an epoch that ended, `unsure` is whatever was not answered.
        select greatest(coalesce(lost, 0), case when is_ended then appended - settled + unsure
                                                when lost > 0 or lost_since > now() - interval '7 days'
                                                then coalesce(lost, 0) + unsure else 0 end) as at_most
       ) as bound
 where at_most > 0 or open_epochs.is_open
 order by until desc nulls first, open_epochs.shard
 limit 16

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

-- edges_lately: the edges that worked when workers last saw the streams, without when each began
select split_part(edge, ' ', 1) as edge, max(said_at) as said_at
  from edge_appends
 where said_at > (select max(seen_at) from stream_epochs) - interval '1 minute'
 group by 1
 order by 1

-- shards_seen: when workers last saw the stream of each shard
select shard, max(seen_at) as seen_at from stream_epochs group by shard

-- streams_seen_at: when workers last saw the streams
select max(seen_at) from stream_epochs
