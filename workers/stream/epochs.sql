-- epoch_draw: the number of a new epoch of a shard's stream
insert into stream_epochs (shard) values ($1) returning epoch

-- epoch_discard: forget a number that no entry has
delete from stream_epochs where epoch = $1

-- edges_appended: what edges appended in which epochs; a number never goes down
with said as (
    select said.*
      from unnest($1::integer[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[])
        as said (epoch, edge, appended, beyond_first, vanished, unsure, since_ms, run)
      join stream_epochs using (epoch)
     order by said.epoch, said.edge
), dated as (
    update stream_epochs
       set lost_since = least(lost_since, to_timestamp(since_ms / 1000.0))
      from (select epoch, min(since_ms) as since_ms from said where vanished > 0 group by epoch) as told
     where stream_epochs.epoch = told.epoch
)
insert into edge_appends as total (epoch, edge, appended, beyond_first, vanished, unsure, run)
select epoch, edge, appended, beyond_first, vanished, unsure, run from said
on conflict (epoch, edge) do update
   set appended = excluded.appended, beyond_first = excluded.beyond_first,
       vanished = excluded.vanished, unsure = excluded.unsure, run = excluded.run,
       said_at = case when total.appended < excluded.appended then now() else total.said_at end
 where (total.appended, total.vanished) <= (excluded.appended, excluded.vanished)
   and (total.appended, total.vanished, total.run) is distinct from (excluded.appended, excluded.vanished, excluded.run)

-- epochs_seen: how many entries each epoch has had, those that vanished included; a number never goes down
update stream_epochs
   set entries_added = seen.entries_added + true_vanished, vanished = true_vanished, seen_at = now(),
       run = $3, run_since = case when run <> $3 then seen_at else run_since end,
       is_open = stream_epochs.is_open or coalesce(run <> $3 and open_epochs.is_open, false),
       lost_since = case when true_vanished > stream_epochs.vanished then least(lost_since, case when run <> $3 then seen_at else run_since end)
                         else lost_since end
  from unnest($1::integer[], $2::bigint[]) as seen (epoch, entries_added)
  join open_epochs using (epoch)
 cross join lateral (
        select coalesce(sum(appended), 0)::bigint as appended, coalesce(sum(vanished), 0)::bigint as vanished
          from edge_appends where edge_appends.epoch = seen.epoch
       ) as edges
 cross join lateral (
        select greatest(known.vanished, edges.vanished, edges.appended - seen.entries_added,
                        known.entries_added - seen.entries_added) as true_vanished
          from stream_epochs as known where known.epoch = seen.epoch
       ) as gone
 where stream_epochs.epoch = seen.epoch

-- losses_known: the entries of an epoch that the ledger has as settled and as lost; the events beyond their first, of both, and as edges appended them
select coalesce(sum(recorded + repeats + quarantined - beyond_first), 0)::bigint as settled,
       coalesce(sum(lost - lost_beyond_first), 0)::bigint as lost,
       coalesce(sum(beyond_first), 0)::bigint as settled_beyond,
       coalesce(sum(lost_beyond_first), 0)::bigint as lost_beyond,
       coalesce((select sum(beyond_first) from edge_appends where epoch = $1), 0)::bigint as appended_beyond,
       coalesce((select vanished from stream_epochs where epoch = $1), 0)::bigint as vanished
  from ledger
 where epoch = $1 and shard = $2

-- epochs_vanished: more was recorded in an epoch whose server was restarted than its stream ever had
update stream_epochs set vanished = vanished + $2, entries_added = entries_added + $2
 where epoch = $1 and run_since is not null

-- losses_book: change by how many events of an epoch are lost, and by how many beyond the first of their entry; under no worker's name
insert into ledger as total (epoch, shard, consumer, lost, lost_beyond_first) values ($1, $2, '', $3, $4)
on conflict (epoch, shard, consumer) do update
   set lost = total.lost + excluded.lost, lost_beyond_first = total.lost_beyond_first + excluded.lost_beyond_first,
       counted_at = now()

-- epochs_begun: epochs whose entries somebody has counted; each was the stream's at that time
select epoch from stream_epochs where entries_added > 0

-- epochs_grow: epochs that ended had at least the entries that the ledger has, and those that edges appended
update stream_epochs ended
   set entries_added = kept.entries
  from (select epoch, max(entries) as entries
          from (select epoch, sum(recorded + repeats + quarantined - beyond_first)::bigint as entries from ledger group by epoch
                union all
                select epoch, sum(appended)::bigint from edge_appends group by epoch) as counts
         group by epoch) as kept
 where ended.epoch = kept.epoch and ended.epoch <> all ($1::integer[]) and ended.entries_added < kept.entries

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
       set lost = total.lost + excluded.lost, lost_beyond_first = total.lost_beyond_first + excluded.lost_beyond_first,
           counted_at = now()
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
