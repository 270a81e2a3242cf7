-- forget: every event, and what was learnt of them
truncate events, visits, claims, event_aliases, repeats, quarantine, customers,
         stream_epochs, ledger, link_days, link_amounts, program_partner_amounts, counter_base

-- zero_links: what was counted of them, back to nothing
update links
   set {counters_at_zero}, last_clicked_at = null

-- zero_partners: the same per partner of a program
update program_partners
   set {counters_at_zero}

-- tidy: take away what the last run left in the tables that it updated
vacuum links, program_partners

-- settle: write everything out now, so that no run pays for the one before
checkpoint

-- events: all of them, as they came
select * from events order by entry_ms, entry_seq, entry_index, shard

-- customers: all of them
select * from customers

-- rival_links: what a rival reads when it starts
select code, id, workspace_id, program_id, partner_id from links

-- rival_event: the row of a click
insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity,
                    epoch, shard, entry_seq, entry_ms, workspace_id, link_id, program_id, partner_id,
                    dialect, page_url, properties, session, country, device, os, browser, referrer_host)
values ($1, $2, 0, 'click', false, $10, false, 1,
        0, 0, 0, 0, $3, $4, $5, $6,
        'affitor', $7, $8, $9, $11, $12, $13, $14, $15)

-- rival_customer: who clicked, if new
insert into customers (id, workspace_id, seen_at) values ($1, $2, $3)
on conflict (id) do update set seen_at = least(customers.seen_at, excluded.seen_at)

-- rival_count: one click more
update links set clicks = clicks + 1, last_clicked_at = greatest(last_clicked_at, $2) where id = $1

-- clicks: how many are counted
select coalesce(sum(clicks), 0)::bigint from links

-- leads: how many are counted, and sales
select coalesce(sum(leads + sales), 0)::bigint from links

-- a_key: any API key, with its workspace
select id, workspace_id from api_keys order by id limit 1

-- analyse: what is known of the tables now is what the planner knows
analyze

-- sizes: what our tables and indexes take on disk; partitions under their table's name
select regexp_replace(relname, '_\d{6}', '') as name,
       sum(pg_relation_size(oid, 'main') + pg_relation_size(oid, 'fsm') + pg_relation_size(oid, 'vm'))::bigint as bytes
  from pg_class
 where relkind in ('r', 'i', 't') and relnamespace = 'public'::regnamespace
 group by 1
 order by 2 desc

-- wal: how much was ever written ahead, in bytes
select (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint

-- commit: a transaction that writes next to nothing, and is on the disk when it returns
select pg_logical_emit_message(true, 'reftide bench', '')

-- latency: from the ids of events, which an edge minted, to their commits; in milliseconds
with waited as (
    select (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000
            - ('x0000' || left(replace(id::text, '-', ''), 12))::bit(64)::bigint)::float as ms
      from events
     where id >= uuid7_floor(to_timestamp($1::bigint / 1000.0))
)
select percentile_disc(0.5) within group (order by ms) as p50,
       percentile_disc(0.99) within group (order by ms) as p99,
       max(ms) as most, count(*) as events
  from waited

-- partition: the month of a moment, in Unix seconds
select make_partition(to_timestamp($1::float))

-- columns: of a table, in their order
select attname from pg_attribute
 where attrelid = $1::text::regclass and attnum > 0 and not attisdropped
 order by attnum

-- calm_events: what autovacuum would do in the middle of a measurement
vacuum (freeze, analyze) events

-- calm_customers: likewise
vacuum (freeze, analyze) customers

-- clicks_on: how many are counted on some links
select coalesce(sum(clicks), 0)::bigint from links where code = any($1::text[])

-- stats_on: sum up what every program's partners brought
update programs set has_stats = true

-- sessions: clicks by their numbers, each in a session of its own, within an hour from a millisecond; one in ten converts
insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch, shard, entry_seq, entry_ms,
                    workspace_id, link_id, program_id, partner_id, dialect, session)
select (lpad(to_hex($3::bigint + number * 3600000 / $4::bigint), 12, '0') || '7' || lpad(to_hex(number & 4095), 3, '0')
        || '8' || left(md5(number::text), 15))::uuid,
       to_timestamp(($3::bigint + number * 3600000 / $4::bigint) / 1000.0), 0,
       case when number % 10 = 0 then 'lead' else 'click' end::event_kind, false, false, false, 1, 0, 0, number, 0,
       $5, $6, $7, $8, 'affitor', 'recorded-' || number
  from generate_series($1::bigint, $2::bigint) as number
