-- marks_take: lease marked entries that crashed no worker; none while recording is paused
with due as (
    select id from quarantine
     where redrive_at <= now() and status = 'open' and tries = 0 and reason <> 'crash_loop'
       and not exists (select from pauses where resumed_at is null)
     order by redrive_at, id
     limit $1
       for update skip locked
)
update quarantine set redrive_at = now() + $2::interval, tries = 1
  from due where quarantine.id = due.id
returning quarantine.id, epoch, shard, entry_ms, entry_seq, entry_index, payload, reason::text, tries, redrive_at

-- marks_take_suspect: lease one marked entry that may have crashed a worker
with due as (
    select id from quarantine
     where redrive_at <= now() and status = 'open' and (tries > 0 or reason = 'crash_loop')
       and not exists (select from pauses where resumed_at is null)
     order by redrive_at, id
     limit 1
       for update skip locked
)
update quarantine set redrive_at = now() + $1::interval, tries = tries + 1
  from due where quarantine.id = due.id
returning quarantine.id, epoch, shard, entry_ms, entry_seq, entry_index, payload, reason::text, tries, redrive_at

-- marks_release: give up the leases of entries that were not tried
update quarantine set redrive_at = now(), tries = greatest(tries - 1, 0)
 where id = any($1::bigint[]) and status = 'open' and redrive_at is not null

-- marks_put_off: try an entry again later, unless it was marked again meanwhile
update quarantine
   set redrive_at = case when redrive_at = $2 then now() + $4::interval else redrive_at end,
       tries = 0, detail = $3
 where id = $1 and status = 'open' and redrive_at is not null

-- marks_lock: lock those of these entries that are open and not locked by another transaction
select id, payload from quarantine
 where id = any($1::bigint[]) and status = 'open'
 order by id
   for update skip locked

-- marks_done: mark entries as redriven
with former as (
    select id, reason, detail, attempts from quarantine where id = any($1::bigint[])
), told as (
    insert into quarantine_history (quarantine_id, who, action, before)
    select id, $2, 'redriven', jsonb_build_object('reason', reason, 'detail', detail, 'attempts', attempts)
      from former order by id
)
update quarantine
   set status = 'redriven', attempts = attempts + 1, last_seen = now(),
       waits_for = '{}', look_at = null, redrive_at = null, tries = 0
 where id = any($1::bigint[])

-- marks_failed: store why entries are refused again; a mark that was set meanwhile stays
with said as (
    select id, reason::quarantine_reason, detail,
           array(select jsonb_array_elements_text(waits_for::jsonb)) as waits_for, lease, workspace_id
      from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::uuid[])
        as said (id, reason, detail, waits_for, lease, workspace_id)
), told as (
    insert into quarantine_history (quarantine_id, who, action, note, before)
    select former.id, $7, 'failed', said.detail,
           jsonb_build_object('reason', former.reason, 'detail', former.detail, 'attempts', former.attempts)
      from said join quarantine former using (id) order by former.id
)
update quarantine
   set reason = said.reason, detail = said.detail, waits_for = said.waits_for,
       attempts = attempts + 1, last_seen = now(), tries = 0,
       workspace_id = coalesce(quarantine.workspace_id, said.workspace_id),
       redrive_at = case when redrive_at <> said.lease then redrive_at
                         when said.reason = 'future_id'
                         then greatest(now() + interval '1 minute', uuid7_time(event_id) - interval '5 minutes') end,
       look_at = case when said.waits_for <> quarantine.waits_for then now() else look_at end
  from said
 where quarantine.id = said.id

-- wakes_next: the oldest change that entries wait for
select seq, ref, reached from quarantine_wakes order by seq limit 1 for update skip locked

-- wake_mark: mark the next entries that wait for a change; how many, and the last id
with waiting as materialized (
    select id from quarantine
     where status = 'open' and waits_for <> '{}' and waits_for @> array[$1::text] and id > $2
), next as (
    select id from quarantine where id in (select id from waiting) order by id limit $3 for update
), marked as (
    update quarantine set redrive_at = now(), look_at = null
      from next where quarantine.id = next.id and status = 'open'
    returning quarantine.id
)
select count(*), coalesce(max(id), 0) as reached from next

-- wake_reached: continue after this entry next time
update quarantine_wakes set reached = $2 where seq = $1

-- wake_done: all entries that wait for the change are marked
delete from quarantine_wakes where seq = $1

-- looks_due: entries to check for what they wait for
select id, waits_for from quarantine
 where look_at <= now() and status = 'open'
 order by look_at
 limit $1
   for update skip locked

-- looks_found: mark entries whose reference exists
update quarantine set redrive_at = now(), look_at = null where id = any($1::bigint[])

-- looks_over: stop checking entries that a published change will wake
update quarantine set look_at = null where id = any($1::bigint[])

-- looks_again: check again after as long as they have waited, within limits
update quarantine
   set look_at = now() + least(greatest(now() - first_seen, interval '1 second'), $2::interval)
 where id = any($1::bigint[])
