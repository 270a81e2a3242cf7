-- epochs: the lives of the shards' streams, with the entries they were last seen to hold
select epoch, shard, entries_added from stream_epochs order by epoch

-- books: what became of the entries, all together
select coalesce(sum(recorded), 0)::bigint     as recorded,
       coalesce(sum(repeats), 0)::bigint      as repeats,
       coalesce(sum(quarantined), 0)::bigint  as quarantined
  from ledger
