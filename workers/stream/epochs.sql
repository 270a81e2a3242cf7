-- epoch_draw: the number of a new epoch of a shard's stream
insert into stream_epochs (shard) values ($1) returning epoch

-- epoch_discard: forget a number that no entry has
delete from stream_epochs where epoch = $1

-- edges_appended: what edges appended in which epochs; a number never goes down. An edge that is gone since `until_ms` has nothing of an epoch that began later: another database numbered it
with said as (
    select said.*, coalesce(to_timestamp(until_ms / 1000.0), now()) as said_at
      from unnest($1::integer[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[], $9::bigint[])
        as said (epoch, edge, appended, beyond_first, vanished, unsure, since_ms, run, until_ms)
      join stream_epochs using (epoch)
     where until_ms is null or to_timestamp(until_ms / 1000.0) > born_at - interval '5 seconds'
     order by said.epoch, said.edge
), dated as (
    update stream_epochs
       set lost_since = least(lost_since, to_timestamp(since_ms / 1000.0))
      from (select epoch, min(since_ms) as since_ms from said where vanished > 0 group by epoch) as told
     where stream_epochs.epoch = told.epoch
)
insert into edge_appends as total (epoch, edge, appended, beyond_first, vanished, unsure, run, said_at)
select epoch, edge, appended, beyond_first, vanished, unsure, run, said_at from said
on conflict (epoch, edge) do update
   set appended = excluded.appended, beyond_first = excluded.beyond_first,
       vanished = excluded.vanished, unsure = excluded.unsure, run = excluded.run,
       is_open = total.is_open and total.run is not distinct from excluded.run,
       said_at = case when total.appended < excluded.appended then excluded.said_at else total.said_at end
 where (total.appended, total.vanished) <= (excluded.appended, excluded.vanished)
   and (total.appended, total.vanished, total.run) is distinct from (excluded.appended, excluded.vanished, excluded.run)

-- epochs_seen: how many entries each epoch has had, those that vanished included; a number never goes down. What fell is counted once every live edge ($4) has asked the run, unless one that is gone ($5) appended lately; an append that was not answered may be among it
with asked as (
    select epoch, coalesce(sum(said.appended), 0)::bigint as appended, coalesce(sum(said.vanished), 0)::bigint as vanished,
           coalesce(sum(said.unsure), 0)::bigint as unsure,
           -- What was under way when an edge ended is no loss: nobody was told that it was there.
           coalesce(bool_and(said.run = $3) filter (where edge = any ($4)), true)
           and not coalesce(bool_or(edge = any ($5)), false) as is_compared,
           coalesce(bool_or(edge = any ($4) and said.run <> known.run), false) as is_behind
      from stream_epochs as known left join edge_appends as said using (epoch)
     where epoch = any ($1::integer[])
     group by epoch
), opened as (
    update edge_appends as said set is_open = true
      from stream_epochs as known
     where known.epoch = said.epoch and known.epoch = any ($1::integer[]) and known.run <> $3
       and edge <> all ($4) and said.run <> known.run
       and said_at >= greatest(least(run_since, lost_since), run_since - interval '10 minutes') - interval '10 seconds'
), moved as (
    select epoch, seen.entries_added, greatest(
               known.vanished, known.named, asked.vanished, asked.appended - seen.entries_added,
               case when is_compared then known.entries_added - seen.entries_added - asked.unsure end) as vanished,
           -- A live edge that has not asked the former run either asks the next one for both.
           case when known.run <> $3 and not (is_behind and run_since is not null) then seen_at else run_since end as run_since
      from unnest($1::integer[], $2::bigint[]) as seen (epoch, entries_added)
      join asked using (epoch) join stream_epochs as known using (epoch)
)
update stream_epochs as known
   set entries_added = greatest(known.entries_added, moved.entries_added + moved.vanished), vanished = moved.vanished,
       seen_at = now(), run = $3, run_since = moved.run_since,
       lost_since = case when moved.vanished > known.vanished then least(lost_since, moved.run_since) else lost_since end
  from moved
 where known.epoch = moved.epoch

-- vanished_told: the events of entries that vanished, with the dedupe keys of some. While nobody looked for a minute, edges may have come and gone
with new as (
insert into vanished_events (epoch, shard, entry_ms, entry_seq, entry_index, event_id, scope, key, workspace_id)
select epoch, shard, entry_ms, entry_seq, entry_index, event_id, scope, key,
       coalesce(told.workspace_id,
                (select links.workspace_id from links where id = told.link_id),
                (select api_keys.workspace_id from api_keys where api_keys.key_hash = told.key_hash),
                (select links.workspace_id from links
                  where links.code = told.code and links.namespace = any (string_to_array(namespaces, chr(10)))
                  limit 1))
  from unnest($1::integer[], $2::smallint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::uuid[], $7::text[], $8::bytea[], $9::uuid[],
              $10::uuid[], $11::bytea[], $12::text[], $13::text[])
    as told (epoch, shard, entry_ms, entry_seq, entry_index, event_id, scope, key, workspace_id, link_id, key_hash, namespaces, code)
 -- Edges name them again to every server; what is older was counted and forgotten.
 where to_timestamp(entry_ms / 1000) > now() - interval '6 days'
   -- Otherwise another database had numbered the epoch.
   and to_timestamp(entry_ms / 1000) > (select born_at - interval '5 seconds' from stream_epochs where stream_epochs.epoch = told.epoch)
on conflict do nothing
returning epoch, entry_index
)
update stream_epochs
   set named = named + entries, is_open = is_open or seen_at < now() - interval '1 minute'
  from (select epoch, count(*) filter (where entry_index = 0) as entries from new group by epoch) as counted
 where stream_epochs.epoch = counted.epoch
   and not exists (select from stream_epochs as later where later.shard = stream_epochs.shard and later.epoch > counted.epoch)

-- vanished_settled: settle the events of vanished entries that were recorded from them, and count as repeats those that another entry has; how many of each shard
with place as materialized (
    select vanished.*, coalesce(alias.event_id, claims.event_id, vanished.event_id) as recorded_id,
           row_number() over (partition by vanished.workspace_id, scope, key,
                                           case when vanished.workspace_id is null or key is null then vanished.event_id end
                                  order by entry_ms, entry_seq) > 1 as is_again
      from vanished_events as vanished
      left join event_aliases as alias on alias.id = vanished.event_id
      left join claims using (workspace_id, scope, key)
     where not is_settled
), found as materialized (
    select place.*,
           exists (select from events as own
                    where own.id = recorded_id
                      and (own.epoch, own.shard, own.entry_ms, own.entry_seq, own.entry_index)
                        = (place.epoch, place.shard, place.entry_ms, place.entry_seq, place.entry_index))
           or exists (select from repeats as own
                       where (own.epoch, own.shard, own.entry_ms, own.entry_seq, own.entry_index)
                           = (place.epoch, place.shard, place.entry_ms, place.entry_seq, place.entry_index))
           or exists (select from quarantine as own
                       where (own.epoch, own.shard, own.entry_ms, own.entry_seq, own.entry_index)
                           = (place.epoch, place.shard, place.entry_ms, place.entry_seq, place.entry_index)) as is_own,
           is_again or exists (select from events as other where other.id = recorded_id)
           or exists (select from quarantine as other where other.event_id = place.event_id) as is_elsewhere
      from place
), old as (
    delete from vanished_events where told_at < now() - interval '7 days'
), settled as (
    update vanished_events set is_settled = true
      from found
     where (vanished_events.epoch, vanished_events.shard, vanished_events.entry_ms, vanished_events.entry_seq, vanished_events.entry_index)
         = (found.epoch, found.shard, found.entry_ms, found.entry_seq, found.entry_index)
       and (is_own or is_elsewhere) and found.told_at >= now() - interval '7 days'
), again as (
    insert into repeats (epoch, shard, entry_ms, entry_seq, entry_index, event_id)
    select epoch, shard, entry_ms, entry_seq, entry_index, event_id from found where is_elsewhere and not is_own
    on conflict do nothing
    returning epoch, shard, entry_index
)
insert into ledger as total (epoch, shard, consumer, repeats, beyond_first)
select epoch, shard, '', count(*), count(*) filter (where entry_index > 0) from again group by epoch, shard order by epoch, shard
on conflict (epoch, shard, consumer) do update
   set repeats = total.repeats + excluded.repeats, beyond_first = total.beyond_first + excluded.beyond_first

-- losses_known: the entries of an epoch that the ledger has as settled and as lost; the events beyond their first, of both, and as edges appended them
select coalesce(sum(recorded + repeats + quarantined - beyond_first), 0)::bigint as settled,
       coalesce(sum(lost - lost_beyond_first), 0)::bigint as lost,
       coalesce(sum(beyond_first), 0)::bigint as settled_beyond,
       coalesce(sum(lost_beyond_first), 0)::bigint as lost_beyond,
       coalesce((select sum(beyond_first) from edge_appends where epoch = $1), 0)::bigint as appended_beyond,
       (select count(*) from vanished_events where (epoch, shard) = ($1, $2) and entry_index > 0 and not is_settled) as vanished_beyond,
       coalesce((select vanished from stream_epochs where epoch = $1), 0)::bigint as vanished,
       exists (select from stream_epochs where epoch = $1 and (run_since is not null or named > 0)) as is_restarted
  from ledger
 where epoch = $1 and shard = $2

-- epochs_vanished: more was recorded or appended in an epoch whose server was restarted than its stream ever had; `entries_added` may know of it from before
update stream_epochs set vanished = greatest(vanished, $2), entries_added = greatest(entries_added, $3 + greatest(vanished, $2)) where epoch = $1

-- losses_book: change by how many events of an epoch are lost, and by how many beyond the first of their entry; under no worker's name
insert into ledger as total (epoch, shard, consumer, lost, lost_beyond_first) values ($1, $2, '', $3, $4)
on conflict (epoch, shard, consumer) do update
   set lost = total.lost + excluded.lost, lost_beyond_first = total.lost_beyond_first + excluded.lost_beyond_first,
       counted_at = now()

-- epochs_begun: epochs whose entries somebody has counted; each was the stream's at that time
select epoch, shard from stream_epochs where entries_added > 0

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
