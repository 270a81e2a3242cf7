-- events_add: insert rows whose ids nobody has; gives back the ids that were new
insert into events
       (epoch, shard, entry_ms, entry_seq, id, at, digest, kind, is_test, is_bot, is_duplicate, quantity,
        workspace_id, link_id, program_id, partner_id, click_id, asked_program_id, customer_id, api_key_id,
        dialect, name, page_url, properties, visitor, ip,
        country, region, city, device, os, browser, referrer_host, failed, amount, currency, session)
select epoch, shard, entry_ms, entry_seq, id, at, digest, kind, is_test, is_bot, is_duplicate, quantity,
       workspace_id, link_id, program_id, partner_id, click_id, asked_program_id, customer_id, api_key_id,
       dialect, name, page_url, properties::jsonb, visitor, ip::inet,
       country, region, city, device, os, browser, referrer_host, string_to_array(failed, ' '), amount, currency, session
  from unnest($1::int[], $2::smallint[], $3::bigint[], $4::bigint[],
              $5::uuid[], $6::timestamptz[], $7::bigint[], $8::event_kind[],
              $9::boolean[], $10::boolean[], $11::boolean[], $12::int[],
              $13::uuid[], $14::uuid[], $15::uuid[], $16::uuid[], $17::uuid[], $18::uuid[], $19::uuid[], $20::uuid[],
              $21::text[], $22::text[], $23::text[], $24::text[], $25::bytea[], $26::text[],
              $27::text[], $28::text[], $29::text[], $30::text[], $31::text[], $32::text[], $33::text[], $34::text[],
              $35::bigint[], $36::text[], $37::text[])
    as event (epoch, shard, entry_ms, entry_seq, id, at, digest, kind, is_test, is_bot, is_duplicate, quantity,
              workspace_id, link_id, program_id, partner_id, click_id, asked_program_id, customer_id, api_key_id,
              dialect, name, page_url, properties, visitor, ip,
              country, region, city, device, os, browser, referrer_host, failed, amount, currency, session)
 order by id
on conflict (id) do nothing
returning id

-- events_standing: what stands under these ids
select id, at, digest, kind, is_test, is_bot, is_duplicate, quantity,
       epoch, shard, entry_ms, entry_seq,
       workspace_id, link_id, program_id, partner_id, click_id, customer_id, amount, currency
  from events
 where id = any($1::uuid[])

-- events_contest: let one writer at a time replace what stands under an id
select pg_advisory_xact_lock(hashtextextended(id::text, 0))
  from (select unnest($1::uuid[]) as id order by 1) as contested

-- events_remove: take rows away whose event has an earlier attempt
delete from events where id = any($1::uuid[])

-- repeats_add: note entries that were the same event again; gives back those that are new
insert into repeats (epoch, shard, entry_ms, entry_seq, event_id)
select * from unnest($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::uuid[])
    as repeat (epoch, shard, entry_ms, entry_seq, event_id)
 order by epoch, shard, entry_ms, entry_seq
on conflict do nothing
returning epoch, shard
