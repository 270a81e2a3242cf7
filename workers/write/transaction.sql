-- events_known: which of these ids events have, and which customers have
select id, true as is_row from events where id = any($1::uuid[])
union all
select id, false from customers where id = any($1::uuid[])

-- events_stored: the rows under these ids
select id, at, digest, api_key_id is null as is_keyless, kind, is_test, is_bot, is_duplicate, quantity,
       epoch, shard, entry_ms, entry_seq, entry_index,
       workspace_id, link_id, program_id, partner_id, click_id, customer_id, amount, currency
  from events
 where id = any($1::uuid[])

-- events_lock: let one writer at a time replace the row under an id
select pg_advisory_xact_lock(hashtextextended(id::text, 0))
  from (select unnest($1::uuid[]) as id order by 1) as replaced

-- events_remove: delete rows whose event has an earlier attempt
delete from events where id = any($1::uuid[])

-- repeats_add: note where the same event came again; gives back those that are new
insert into repeats (epoch, shard, entry_ms, entry_seq, entry_index, event_id)
select * from unnest($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::uuid[])
    as repeat (epoch, shard, entry_ms, entry_seq, entry_index, event_id)
 order by epoch, shard, entry_ms, entry_seq, entry_index
on conflict do nothing
returning epoch, shard, entry_index
