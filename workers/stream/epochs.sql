-- epoch_draw: the number of a new life of a shard's stream
insert into stream_epochs (shard) values ($1) returning epoch

-- epoch_discard: forget a life that another worker had already numbered
delete from stream_epochs where epoch = $1

-- edges_said: how many entries edges appended to which lives; a number never goes down
insert into edge_appends as total (epoch, edge, appended)
select said.epoch, said.edge, said.appended
  from unnest($1::integer[], $2::text[], $3::bigint[]) as said (epoch, edge, appended)
  join stream_epochs using (epoch)
 order by said.epoch, said.edge
on conflict (epoch, edge) do update set appended = excluded.appended, said_at = now()
 where total.appended < excluded.appended

-- epochs_seen: how many entries each life has had; a number never goes down
update stream_epochs
   set entries_added = greatest(stream_epochs.entries_added, seen.entries_added), seen_at = now()
  from unnest($1::integer[], $2::bigint[]) as seen (epoch, entries_added)
 where stream_epochs.epoch = seen.epoch
