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
