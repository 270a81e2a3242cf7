-- ledger_count: add to what became of the entries of some shards
insert into ledger as total (epoch, shard, consumer, recorded, repeats, quarantined)
select epoch, shard, $6::text, recorded, repeats, quarantined
  from unnest($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[])
    as change (epoch, shard, recorded, repeats, quarantined)
 order by epoch, shard
on conflict (epoch, shard, consumer) do update
   set recorded = total.recorded + excluded.recorded,
       repeats = total.repeats + excluded.repeats,
       quarantined = total.quarantined + excluded.quarantined,
       counted_at = now()
