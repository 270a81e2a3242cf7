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
