-- epoch_draw: the number of a new epoch of a shard's stream
insert into stream_epochs (shard) values ($1) returning epoch

-- epoch_discard: forget a number that no entry has
delete from stream_epochs where epoch = $1

-- edges_appended: what edges appended in which epochs; a number never goes down
insert into edge_appends as total (epoch, edge, appended, beyond_first)
select said.epoch, said.edge, said.appended, said.beyond_first
  from unnest($1::integer[], $2::text[], $3::bigint[], $4::bigint[]) as said (epoch, edge, appended, beyond_first)
  join stream_epochs using (epoch)
 order by said.epoch, said.edge
on conflict (epoch, edge) do update
   set appended = excluded.appended, beyond_first = excluded.beyond_first, said_at = now()
 where total.appended < excluded.appended

-- epochs_seen: how many entries each epoch has had; a number never goes down
update stream_epochs
   set entries_added = greatest(stream_epochs.entries_added, seen.entries_added), seen_at = now()
  from unnest($1::integer[], $2::bigint[]) as seen (epoch, entries_added)
 where stream_epochs.epoch = seen.epoch

-- losses_known: the entries of an epoch that the ledger has as settled and as lost; the events beyond their first, of both, and as edges appended them
select coalesce(sum(recorded + repeats + quarantined - beyond_first), 0)::bigint as settled,
       coalesce(sum(lost - lost_beyond_first), 0)::bigint as lost,
       coalesce(sum(beyond_first), 0)::bigint as settled_beyond,
       coalesce(sum(lost_beyond_first), 0)::bigint as lost_beyond,
       coalesce((select sum(beyond_first) from edge_appends where epoch = $1), 0)::bigint as appended_beyond
  from ledger
 where epoch = $1 and shard = $2

-- losses_book: change by how many events of an epoch are lost, and by how many beyond the first of their entry; under no worker's name
insert into ledger as total (epoch, shard, consumer, lost, lost_beyond_first) values ($1, $2, '', $3, $4)
on conflict (epoch, shard, consumer) do update
   set lost = total.lost + excluded.lost, lost_beyond_first = total.lost_beyond_first + excluded.lost_beyond_first

-- epochs_begun: epochs whose entries somebody has counted; each was the stream's at that time
select epoch from stream_epochs where entries_added > 0

-- epochs_grow: epochs that ended had at least the entries that the ledger has
update stream_epochs ended
   set entries_added = kept.settled
  from (select epoch, sum(recorded + repeats + quarantined - beyond_first) as settled from ledger group by epoch) as kept
 where ended.epoch = kept.epoch and ended.epoch <> all ($1::integer[]) and ended.entries_added < kept.settled

-- losses_of_the_ended: entries of these epochs, which ended, that the ledger lacks: their server took them along
with changed as (
    select ended.epoch, ended.shard, true_lost - coalesce(kept.lost, 0) as change,
           true_beyond - coalesce(kept.lost_beyond, 0) as change_beyond
      from ended_losses as ended left join lateral (
            select sum(lost)::bigint as lost, sum(lost_beyond_first)::bigint as lost_beyond
              from ledger where (ledger.epoch, ledger.shard) = (ended.epoch, ended.shard)
           ) as kept on true
     where ended.epoch = any ($1::integer[])
), booked as (
    insert into ledger as total (epoch, shard, consumer, lost, lost_beyond_first)
    select epoch, shard, '', change, change_beyond from changed
     where (change, change_beyond) <> (0, 0) order by epoch, shard
    on conflict (epoch, shard, consumer) do update
       set lost = total.lost + excluded.lost, lost_beyond_first = total.lost_beyond_first + excluded.lost_beyond_first
)
select epoch, shard, change from changed where change > 0 order by epoch, shard

-- losses_returned: what came back of these epochs, as far as they ended, is lost no more
update ledger
   set lost = true_lost, lost_beyond_first = true_beyond
  from ended_losses as ended
 where ended.epoch = any ($1::integer[])
   and (ledger.epoch, ledger.shard, ledger.consumer) = (ended.epoch, ended.shard, '')
   and ledger.lost > true_lost
   and exists (select from stream_epochs as next where next.shard = ended.shard and next.epoch > ended.epoch)
