-- losses_known: what the books have of a life of a shard, and what of it is lost
select coalesce(sum(recorded + repeats + quarantined), 0)::bigint as settled,
       coalesce(sum(lost), 0)::bigint as lost
  from ledger
 where epoch = $1 and shard = $2

-- losses_book: change by how many entries of a life are lost; under no worker's name
insert into ledger as total (epoch, shard, consumer, lost) values ($1, $2, '', $3)
on conflict (epoch, shard, consumer) do update set lost = total.lost + excluded.lost

-- lives_begun: lives of which somebody counted entries by now; of each, the stream was under its number then
select epoch from stream_epochs where entries_added > 0

-- lives_grow: lives that ended had at least the entries that are in a book
update stream_epochs life
   set entries_added = kept.settled
  from (select epoch, sum(recorded + repeats + quarantined) as settled from ledger group by epoch) as kept
 where life.epoch = kept.epoch and life.epoch <> all ($1::integer[]) and life.entries_added < kept.settled

-- losses_of_the_dead: these lives, which ended, had entries that are in no book, and took them along
with kept as (
    select epoch, shard, sum(recorded + repeats + quarantined) as settled, sum(lost) as lost
      from ledger
     group by epoch, shard
), changed as (
    select epoch, shard,
           (greatest(life.entries_added - coalesce(kept.settled, 0), 0)
            - coalesce(kept.lost, 0))::bigint as change
      from stream_epochs as life left join kept using (epoch, shard)
     where epoch = any ($1::integer[])
), booked as (
    insert into ledger as total (epoch, shard, consumer, lost)
    select epoch, shard, '', change from changed where change <> 0 order by epoch, shard
    on conflict (epoch, shard, consumer) do update set lost = total.lost + excluded.lost
)
select epoch, shard, change from changed where change > 0 order by epoch, shard

-- losses_returned: of these lives, as far as they ended, what came back is lost no more
with kept as (
    select epoch, shard, sum(recorded + repeats + quarantined)::bigint as settled
      from ledger
     where epoch = any ($1::integer[])
     group by epoch, shard
)
update ledger
   set lost = least(ledger.lost, greatest(life.entries_added - kept.settled, 0))
  from kept join stream_epochs as life using (epoch, shard)
 where (ledger.epoch, ledger.shard, ledger.consumer) = (kept.epoch, kept.shard, '')
   and ledger.lost > greatest(life.entries_added - kept.settled, 0)
   and exists (select from stream_epochs as next where next.shard = life.shard and next.epoch > life.epoch)
