-- key: the secret key of pseudonyms
select key from erasure_key

-- version_known: the version of the suppressions; it grows with every change
select version from erasure_key

-- version: the version, locked until the transaction ends
select suppressions_version()

-- suppressed_since: rows added after one
select seq, erasure_id, workspace_id, hash, click_id from suppressions where seq > $1 order by seq

-- suppressed_at: the erasure of one row
select erasure_id from suppressions where seq = $1

-- leftover: list an entry and keys for deletion from Redis
insert into erasure_leftovers (epoch, shard, entry_ms, entry_seq, keys) values ($1, $2, $3, $4, $5)
on conflict (epoch, shard, entry_ms, entry_seq) where epoch is not null do update
   set keys = array(select distinct unnest(erasure_leftovers.keys || excluded.keys))
 where not erasure_leftovers.keys @> excluded.keys

-- claims_held: which of these claims exist
select scope, key from claims
 where (workspace_id, scope, key) in (select * from unnest($1::uuid[], $2::text[], $3::bytea[]))

-- lock: wait for all writers and block new ones
select pg_advisory_xact_lock(hashtext('reftide erasure'))

-- customer: one customer
select id, workspace_id, external_id, points_to, erased_at from customers where id = $1

-- customers_called: customers by an external id, in one workspace or in all
select customer.id, workspace_id, external_id
  from workspaces
 cross join lateral (
        select id, workspace_id, external_id from customers
         where workspace_id = workspaces.id and external_id = $1
        offset 0) as customer
 where $2::uuid is null or workspaces.id = $2

-- customers_of_email: customers who have an address, or of whom an event came with it, in one workspace or in all
select distinct person.id, person.workspace_id, person.external_id
  from (select id from customers where email_hash = $1
        union select customer_id from events where email_hash = $1) as named
  join customers customer using (id)
  join customers person on person.id = coalesce(customer.points_to, customer.id)
 where $2::uuid is null or person.workspace_id = $2

-- workspace_ids: all workspaces
select id from workspaces where $1::uuid is null or id = $1

-- clicks_of: the root clicks of a customer's visitors, under all their ids
with named as (
    select id from customers where points_to = $1
    union select id from customers where id = $1 and external_id is null
    union select click_id from events where customer_id = $1 and kind <> 'click' and click_id is not null
), family as (
    select named.id, coalesce(alias.event_id, named.id) as event_id
      from named left join event_aliases alias on alias.id = named.id
)
select id from family
union select event_id from family
union select other.id from family join event_aliases other on other.event_id = family.event_id

-- visitors_of: the anonymous customers of these clicks that point to this customer
select id from customers where id = any($2::uuid[]) and external_id is null and (points_to = $1 or id = $1)

-- related: other customers whose events name the same clicks
select distinct customer.id, customer.external_id
  from events join customers customer on customer.id = events.customer_id
 where events.click_id = any($1::uuid[]) and events.kind <> 'click'
   and customer.external_id is not null and customer.id <> $2

-- visits_of: the sessions of these clicks
select distinct link_id, session from events
 where (id = any($1::uuid[]) or click_id = any($1::uuid[])) and kind = 'click'
   and workspace_id = $2 and session is not null and link_id is not null

-- events_of: the events of these customers, clicks and sessions
select id from events where customer_id = any($1::uuid[]) and kind <> 'click'
union select id from events where id = any($2::uuid[]) and kind = 'click' and workspace_id = $3
union select id from events where click_id = any($2::uuid[]) and kind = 'click' and workspace_id = $3
union select events.id from unnest($4::uuid[], $5::text[]) as visit (link_id, session)
        join events on events.link_id = visit.link_id and events.session = visit.session
       where events.workspace_id = $3 and (events.customer_id is null or events.customer_id = any($1::uuid[]))

-- claims_of: the claims of these events
select workspace_id, scope, key from claims where event_id = any($1::uuid[]) order by workspace_id, scope, key for update

-- claims_pseudonymize: replace the keys of claims
update claims set key = changed.after
  from unnest($1::uuid[], $2::text[], $3::bytea[], $4::bytea[]) as changed (workspace_id, scope, key, after)
 where (claims.workspace_id, claims.scope, claims.key) = (changed.workspace_id, changed.scope, changed.key)

-- sales_pseudonymize: let refunds name their sales by the new keys
update events set sale_key = changed.after
  from unnest($1::uuid[], $2::text[], $3::bytea[], $4::bytea[]) as changed (workspace_id, scope, key, after)
 where changed.scope = 'sale' and (events.workspace_id, events.sale_key) = (changed.workspace_id, changed.key)

-- begun: the erasure of a customer, if there is one
select id from erasures where customer_id = $1 order by asked_at limit 1

-- begin: insert an erasure
insert into erasures (id, workspace_id, customer_id, customers, clicks, external_id, who, note, counts)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb)

-- begin_events: list the events to rewrite
insert into erasure_events (erasure_id, event_id) select $1, unnest($2::uuid[])

-- begin_hashes: suppress customers and visits
insert into suppressions (erasure_id, workspace_id, hash) select $1, $2, unnest($3::bytea[])
on conflict do nothing

-- begin_clicks: suppress clicks
insert into suppressions (erasure_id, workspace_id, click_id) select $1, $2, unnest($3::uuid[])
on conflict do nothing

-- begin_unknown: insert a customer of whom nothing is recorded
insert into customers (id, workspace_id, external_id, seen_at, erased_at) values ($1, $2, $3, now(), now())

-- begun_lock: lock an erasure, so that one process at a time extends it
select workspace_id, customer_id, customers, clicks from erasures where id = $1 for update

-- grow: extend an erasure; its rows and streams have to be searched again
update erasures
   set customers = customers || $2::uuid[], clicks = clicks || $3::uuid[], quarantine_reached = 0,
       rows_done_at = null, streams_done_at = null,
       counts = counts || jsonb_build_object('events', (counts ->> 'events')::bigint + $4::bigint,
                                             'clicks', (counts ->> 'clicks')::bigint + cardinality($3::uuid[]),
                                             'claims', (counts ->> 'claims')::bigint + $5::bigint)
 where id = $1

-- grown: erasures whose customers have later events that name other clicks
select id from erasures
 where rows_done_at is not null
   and exists (select from events
                where customer_id = erasures.customer_id and kind <> 'click' and click_id is not null
                  and not (click_id = any(erasures.clicks)))

-- list_state: identifies a state of the suppressions, also after a backup was restored
select version || ' ' || coalesce((select id::text from erasures order by asked_at desc, id desc limit 1), '-')
  from erasure_key

-- version_next: make every writer read the suppressions again; no version repeats after a restore
update erasure_key set version = greatest(version + 1, (extract(epoch from clock_timestamp()) * 1000)::bigint)

-- open: erasures whose rows are not done
select id, workspace_id, customers, external_id, quarantine_reached, cardinality(clicks) as size from erasures
 where rows_done_at is null order by asked_at

-- customers_lock: keep batches from changing these customers' events meanwhile
select from customers where id = any($1::uuid[]) order by id for no key update

-- events_take: take the next events to rewrite off the list
delete from erasure_events
 where (erasure_id, event_id) in (select erasure_id, event_id from erasure_events
                                   where erasure_id = $1 order by event_id limit $2 for update skip locked)
returning event_id

-- events_left: the number of events still to rewrite
select count(*) from erasure_events where erasure_id = $1

-- events_read: the columns that get pseudonyms or name keys in Redis
select id, session, link_id, visitor, epoch, shard, entry_ms, entry_seq, entry_index
  from events where id = any($1::uuid[]) order by id for update

-- events_pseudonymize: remove personal data from events; keep what counts, and mark their facets
with marked as (
    insert into dirty (bucket)
    select distinct (uuid7_time(id) at time zone 'UTC')::date from unnest($1::uuid[]) as id
)
update events
   set digest = $3, session = changed.session,
       page_url = null, properties = null, email_hash = null, visitor = null, ip = null, {enrichment}
  from unnest($1::uuid[], $2::text[]) as changed (id, session)
 where events.id = changed.id

-- leftovers_of_repeats: list the entries of these events' repeats for deletion
insert into erasure_leftovers (epoch, shard, entry_ms, entry_seq)
select distinct epoch, shard, entry_ms, entry_seq from repeats
 where event_id = any($1::uuid[])
    or event_id in (select id from event_aliases where event_id = any($1::uuid[]))
on conflict (epoch, shard, entry_ms, entry_seq) where epoch is not null do nothing

-- leftover_keys: list keys for deletion from Redis
insert into erasure_leftovers (keys) values ($1)

-- quarantine_page: the next page of quarantine
select id, epoch, shard, entry_ms, entry_seq, entry_index, payload from quarantine where id > $1 order by id limit $2

-- quarantine_pseudonymize: replace a payload, forget the sender's network; no row if it was edited meanwhile
update quarantine
   set payload = $3, sender = left(sender, 0), detail = case when reason in ('undecodable', 'unstorable') then '' else detail end
 where id = $1 and payload = $2
returning id

-- history_page: former payloads of edited entries
select id, payload from quarantine_history where quarantine_id = any($1::bigint[]) and payload is not null

-- history_pseudonymize: replace a former payload
update quarantine_history set payload = $2 where id = $1

-- history_hush: remove notes that may quote values of payloads
update quarantine_history
   set note = case when action = 'failed' then '' else note end, before = before - 'detail'
 where quarantine_id = any($1::bigint[])

-- quarantine_reached: store the progress, unless the erasure has grown meanwhile
update erasures
   set quarantine_reached = $2,
       counts = jsonb_set(counts, '{quarantined}', to_jsonb(coalesce((counts ->> 'quarantined')::bigint, 0) + $3::bigint))
 where id = $1 and cardinality(clicks) = $4

-- publish_lock: block publishers until the end of the transaction
select pg_advisory_xact_lock(hashtext('reftide publish'))

-- customers_pseudonymize: remove customers' personal data; one of them gets the pseudonym
update customers
   set external_id = case when id = $2 then $3 end, erased_at = now(),
       name = null, name_at = null, name_by = null, email = null, email_sealed = null, email_hash = null, email_at = null, email_by = null,
       avatar = null, avatar_at = null, avatar_by = null
 where id = any($1::uuid[])

-- changes_drop: drop a customer's pending publication
delete from directory_changes where topic = 'customer' and ref = $1

-- rows_done: mark rows and directory as done, unless the erasure has grown meanwhile
update erasures set rows_done_at = now(), external_id = null
 where id = $1 and rows_done_at is null and cardinality(clicks) = $2

-- leftovers_next: the next page of data to delete from Redis
select id, epoch, shard, entry_ms, entry_seq, keys from erasure_leftovers where id > $1 order by id limit $2

-- leftovers_done: this data is deleted
delete from erasure_leftovers where id = any($1::bigint[])

-- leftovers_count: the number of items still to delete
select count(*) from erasure_leftovers

-- unfinished: erasures whose rows are done and whose streams are not
select id, workspace_id, clicks, cardinality(clicks) as size from erasures where rows_done_at is not null and streams_done_at is null

-- streams_done: mark streams as done unless the erasure has grown meanwhile; the ids marked
update erasures set streams_done_at = now()
  from unnest($1::uuid[], $2::int[]) as done (id, size)
 where erasures.id = done.id and cardinality(erasures.clicks) = done.size
   and rows_done_at is not null and streams_done_at is null
returning erasures.id

-- archive_swept: record the version an archive was rewritten by
insert into erasure_archives (host, directory, version, lines) values ($1, $2, $3, $4)
on conflict (host, directory) do update
   set version = greatest(erasure_archives.version, excluded.version), lines = erasure_archives.lines + excluded.lines,
       swept_at = now()

-- customers_texts: external ids and email addresses of customers
select external_id, email, email_sealed from customers where id = any($1::uuid[])
