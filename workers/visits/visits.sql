-- visits_lock: lock the rows of these keys, making those that are missing; gives back the keys that were there or are of a time that is not kept, and the quarter from which clicks are compared
with since as materialized (
    select quarter, int4send(quarter) as key from visits_since
), asked as materialized (
    select * from unnest($1::bytea[], $2::bytea[]) as asked (key, windows)
), made as (
    insert into visits (key, windows)
    select asked.key, windows from asked cross join since
     where asked.key >= since.key
     order by asked.key
    -- Changes nothing, but locks the row.
    on conflict (key) do update set windows = excluded.windows where false
    returning key
)
select asked.key, quarter
  from asked cross join since
 where asked.key not in (select key from made)

-- visits_lock_known: the windows that stand under these keys; they stay locked
select key, windows from visits where key = any($1::bytea[]) order by key for update

-- visits_read: the windows that stand under these keys
select key, windows from visits where key = any($1::bytea[])

-- visits_latest: the greatest key there is
select key from visits order by key desc limit 1

-- visits_put: replace the windows under locked keys
update visits set windows = changed.windows
  from unnest($1::bytea[], $2::bytea[]) as changed (key, windows)
 where visits.key = changed.key

-- visits_drop: forget keys under which nothing is left
delete from visits where key = any($1::bytea[])

-- duplicates_first: of each visitor, the first duplicate in a span of time; whether the month of what it displaces is closed
select asked.place, asked.displaced < events_floor() as is_closed, first.at, first.id
  from unnest($1::int[], $2::bytea[], $3::uuid[], $4::timestamptz[], $5::timestamptz[], $6::uuid[])
    as asked (place, visitor, link_id, low, high, displaced)
  left join lateral (
      select events.at, events.id
        from events
       where events.link_id = asked.link_id and events.visitor = asked.visitor
         and events.at >= asked.low and events.at < asked.high
         and events.is_duplicate and events.kind = 'click' and not events.is_test
         and events.id >= events_floor()
       order by events.at, events.id
       limit 1) as first on true

-- clicks_of: which of these events are clicks that are compared with others of their visitor
select id, at, link_id, visitor, is_duplicate
  from events
 where id = any($1::uuid[])
   and kind = 'click' and not is_test and link_id is not null and visitor is not null

-- flags_lock: rows whose flag changes, as they are
select id, at, digest, api_key_id is null as is_keyless, kind, is_test, is_bot, is_duplicate, quantity,
       epoch, shard, entry_ms, entry_seq, entry_index,
       workspace_id, link_id, program_id, partner_id, click_id, customer_id, amount, currency
  from events
 where id = any($1::uuid[])
 order by id
   for update

-- flags_put: set the flags of rows
update events set is_duplicate = flag.is_duplicate
  from unnest($1::uuid[], $2::boolean[]) as flag (id, is_duplicate)
 where events.id = flag.id
