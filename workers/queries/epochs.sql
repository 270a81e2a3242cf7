-- epoch_draw: the number of a new life of a shard's stream
insert into stream_epochs (shard) values ($1) returning epoch

-- epoch_discard: forget a life that another worker had already numbered
delete from stream_epochs where epoch = $1

-- epochs_seen: how many entries each life has had; a number never goes down
update stream_epochs
   set entries_added = greatest(stream_epochs.entries_added, seen.entries_added), seen_at = now()
  from unnest($1::integer[], $2::bigint[]) as seen (epoch, entries_added)
 where stream_epochs.epoch = seen.epoch
