-- ledger_count: add to what became of the events of some shards
insert into ledger as total (epoch, shard, consumer, recorded, repeats, quarantined, beyond_first)
select epoch, shard, $7::text, recorded, repeats, quarantined, beyond_first
  from unnest($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
    as change (epoch, shard, recorded, repeats, quarantined, beyond_first)
 order by epoch, shard
on conflict (epoch, shard, consumer) do update
   set recorded = total.recorded + excluded.recorded,
       repeats = total.repeats + excluded.repeats,
       quarantined = total.quarantined + excluded.quarantined,
       beyond_first = total.beyond_first + excluded.beyond_first,
       counted_at = now()
