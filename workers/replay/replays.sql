-- parts_free: the number of unleased parts of running replays; 0 while recording is paused
select count(*)
  from replay_parts part join replays replay on replay.id = part.replay_id
 where not part.is_done and replay.status = 'running'
   and (part.leased_until is null or part.leased_until < now())
   and not exists (select from pauses where resumed_at is null)

-- part_take: lease the first free part of the oldest replay
with free as (
    select part.replay_id, part.shard
      from replay_parts part join replays replay on replay.id = part.replay_id
     where not part.is_done and replay.status = 'running'
       and (part.leased_until is null or part.leased_until < now())
       and not exists (select from pauses where resumed_at is null)
     order by replay.created_at, replay.id, part.shard
     limit 1
       for update of part skip locked
)
update replay_parts part
   set leased_by = $1, leased_until = now() + $2::interval
  from free join replays replay on replay.id = free.replay_id
 where (part.replay_id, part.shard) = (free.replay_id, free.shard)
returning part.replay_id, part.shard, part.cursor, replay.mode, replay.requested,
          extract(epoch from replay.next_at - clock_timestamp())::float8 as wait

-- part_release: give up a lease
update replay_parts set leased_by = null, leased_until = null
 where replay_id = $1 and shard = $2 and leased_by = $3

-- replay_pause: pause a running replay
update replays set status = 'paused' where id = $1 and status = 'running'

-- replay_count: add a page's counts; the status, and the seconds that the rate asks to wait
update replays
   set scanned = scanned + $2, inserted = inserted + $3, changed = changed + $4,
       unchanged = unchanged + $5, quarantined = quarantined + $6, refused = refused + $7,
       next_at = greatest(next_at, clock_timestamp()) + $8::interval, damaged = damaged + $9,
       damaged_segments = array(select unnest(damaged_segments) union select unnest($10::text[]) order by 1)
 where id = $1
returning status, extract(epoch from next_at - clock_timestamp())::float8 as wait

-- part_advance: move the cursor, as long as the lease is ours
update replay_parts
   set cursor = $4::jsonb, read = read + $5, expected = greatest(expected, $6), is_done = $7,
       leased_until = now() + $8::interval
 where replay_id = $1 and shard = $2 and leased_by = $3
returning true

-- replay_finish: finish a replay whose parts are done, also one that was paused during its last page
update replays
   set status = 'done', finished_at = clock_timestamp()
 where id = $1 and status in ('running', 'paused')
   and not exists (select from replay_parts where replay_id = $1 and not is_done)

-- shard_lock: one replay at a time writes a shard's entries
select pg_advisory_xact_lock(hashtext('reftide replay'), $1)

-- names_of_link: the codes that a link has and had
select code from links where id = $1
 union
select code from link_aliases where link_id = $1

-- names_of_partner: a partner's links, by each code that they have and had
select id, code from links where partner_id = $1
 union
select link_id, link_aliases.code
  from links join link_aliases on link_aliases.link_id = links.id
 where links.partner_id = $1

-- links_of_workspace: a workspace's links, up to a number of them
select id from links where workspace_id = $1 limit $2

-- recorded_of_link: what is recorded for a link, of a range of ids
select id from events where link_id = $1 and id >= $2 and id < $3 limit $4

-- recorded_of_partner: the same for a partner
select id from events where partner_id = $1 and id >= $2 and id < $3 limit $4

-- recorded: the rows of these events
select *, api_key_id is null as is_keyless
  from events
 where id = any($1::uuid[])

-- recorded_entries: from which entries these events, of this range of ids, were recorded, and of whom
select id, epoch, shard, entry_ms, entry_seq, entry_index, kind::text, workspace_id, link_id, partner_id
  from events
 where id = any($1::uuid[]) and id between $2 and $3

-- missing_entries: which of these events, between $7 and $8, were not recorded from these entries of epoch $5 and shard $6
select *
  from unnest($1::text::uuid[], $2::text::bigint[], $3::text::bigint[], $4::text::smallint[])
except
select id, entry_ms, entry_seq, entry_index
  from events
 where id = any($1::text::uuid[]) and id between $7::uuid and $8::uuid
   and epoch = $5::integer and shard = $6::smallint

-- accounted: which of these entries repeat an event, are or were in quarantine, or were counted there and not kept
with asked as (
    select * from unnest($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::smallint[])
        as asked (epoch, shard, entry_ms, entry_seq, entry_index)
)
select epoch, shard, entry_ms, entry_seq, entry_index, 'repeat' as status, null::bytea as payload
  from repeats
 where (epoch, shard, entry_ms, entry_seq, entry_index) in (select * from asked)
union all
select epoch, shard, entry_ms, entry_seq, entry_index, status::text, payload
  from quarantine
 where (epoch, shard, entry_ms, entry_seq, entry_index) in (select * from asked)
union all
select epoch, shard, entry_ms, entry_seq, entry_index, 'dropped', null
  from dropped_among($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::smallint[])

-- horizon: the end of the latest closed or detached partition, in Unix milliseconds; null if there is none
select greatest(
       (select max(extract(epoch from until) * 1000)::bigint from detached_partitions),
       -- Partitions that were detached by hand.
       max(extract(epoch from (to_date(substr(relname, 8), 'YYYYMM') + interval '1 month') at time zone 'UTC') * 1000)::bigint)
  from pg_class
 where relkind = 'r' and relname ~ '^events_[0-9]{6}$' and relnamespace = current_schema()::regnamespace
   and not exists (select from pg_inherits where inhrelid = pg_class.oid and inhparent = 'events'::regclass)

-- redriven: take entries out of quarantine, unless they were edited meanwhile
with found as (
    select id
      from quarantine
      join unnest($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::bytea[])
        as read (epoch, shard, entry_ms, entry_seq, entry_index, payload) using (epoch, shard, entry_ms, entry_seq, entry_index, payload)
     where status = 'open'
     -- The order in which commands lock them, so that there are no deadlocks.
     order by id
       for update of quarantine
), taken as (
    update quarantine
       set status = 'redriven', attempts = attempts + 1, last_seen = now(), look_at = null, redrive_at = null
      from found where quarantine.id = found.id
    returning quarantine.id, epoch, shard, entry_ms, entry_seq, entry_index
), noted as (
    insert into quarantine_history (quarantine_id, who, action, note)
    select id, $7, 'redriven', 'by a replay' from taken
)
select epoch, shard, entry_ms, entry_seq, entry_index from taken

-- undropped: remove entries from those dropped, since they are recorded
with found as (
    select * from dropped_among($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::smallint[])
), rest as (
    select id, array_agg(entry_ms order by entry_ms, entry_seq, entry_index) as entry_ms,
           array_agg(entry_seq order by entry_ms, entry_seq, entry_index) as entry_seq,
           array_agg(entry_index order by entry_ms, entry_seq, entry_index) as entry_index, count(*) as entries
      from dropped_entries
     where id in (select id from found)
       and (epoch, shard, entry_ms, entry_seq, entry_index) not in (select epoch, shard, entry_ms, entry_seq, entry_index from found)
     group by id
), fewer as (
    update quarantine_dropped kept
       set entry_ms = rest.entry_ms, entry_seq = rest.entry_seq, entry_index = rest.entry_index,
           entries = rest.entries
      from rest where kept.id = rest.id
), none as (
    delete from quarantine_dropped
     where id in (select id from found) and id not in (select id from rest)
)
select epoch, shard, entry_ms, entry_seq, entry_index from found

-- lock_rows: lock the rows to correct
select *, api_key_id is null as is_keyless from events where id = any($1::uuid[]) order by id for update

-- correct: update the derived columns of events
update events
   set {changes}
  from jsonb_populate_recordset(null::events, $1::jsonb) as row
 where events.id = row.id

-- attributions: the present attribution of leads
select id, attributed_id, link_id, program_id, partner_id from events where id = any($1::uuid[])
