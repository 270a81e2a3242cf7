-- quarantine_held: which of these entries an earlier delivery put into quarantine, and nobody took out again; or dropped
select epoch, shard, entry_ms, entry_seq, entry_index
  from quarantine
 where (epoch, shard, entry_ms, entry_seq, entry_index) in (select * from unnest($1::text::int[], $2::text::smallint[], $3::text::bigint[], $4::text::bigint[], $5::text::smallint[]))
   and status <> 'redriven'
union all
select epoch, shard, entry_ms, entry_seq, entry_index
  from dropped_among($1::text::int[], $2::text::smallint[], $3::text::bigint[], $4::text::bigint[], $5::text::smallint[])

-- quarantine_add: keep entries with the reason why; not those that an earlier delivery recorded or dropped
insert into quarantine (epoch, shard, entry_ms, entry_seq, entry_index, event_id, kind, dialect, workspace_id,
                        namespace, code, link_id, reason, detail, payload, waits_for, look_at, redrive_at, sender, consumer)
select epoch, shard, entry_ms, entry_seq, entry_index, event_id, kind, dialect, workspace_id, namespace, code, link_id, reason,
       detail, payload, array(select jsonb_array_elements_text(waits_for::jsonb)),
       -- What came while this was being written, nobody told us of.
       case when waits_for <> '[]' then now() end,
       -- It is recorded once its time has come.
       case when reason = 'future_id' then greatest(now(), uuid7_time(event_id) - interval '5 minutes') end, sender, $18::text
  from unnest($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::uuid[], $7::event_kind[], $8::text[],
              $9::uuid[], $10::text[], $11::text[], $12::uuid[], $13::quarantine_reason[], $14::text[], $15::bytea[],
              $16::text[], $17::text[])
    as rejected (epoch, shard, entry_ms, entry_seq, entry_index, event_id, kind, dialect, workspace_id,
                namespace, code, link_id, reason, detail, payload, waits_for, sender)
 where not exists (select from events event
                    where event.id = rejected.event_id
                      and (event.epoch, event.shard, event.entry_ms, event.entry_seq, event.entry_index)
                        = (rejected.epoch, rejected.shard, rejected.entry_ms, rejected.entry_seq, rejected.entry_index))
   and not exists (select from repeats
                    where (repeats.epoch, repeats.shard, repeats.entry_ms, repeats.entry_seq, repeats.entry_index)
                        = (rejected.epoch, rejected.shard, rejected.entry_ms, rejected.entry_seq, rejected.entry_index))
   and (epoch, shard, entry_ms, entry_seq, entry_index) not in
       (select epoch, shard, entry_ms, entry_seq, entry_index from dropped_among($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::smallint[]))
 order by epoch, shard, entry_ms, entry_seq, entry_index
on conflict (epoch, shard, entry_ms, entry_seq, entry_index) do update
   set attempts = quarantine.attempts + 1, last_seen = now()
returning epoch, shard, entry_index, reason, xmax = 0 as is_new

-- quarantine_alone: one worker at a time drops entries of a shard; no constraint prevents duplicates here
select pg_advisory_xact_lock(hashtext('reftide dropped'), shard)
  from (select distinct unnest($1::smallint[]) as shard order by 1) as shards

-- quarantine_drop: write down where entries stand, without keeping them; not those that an earlier delivery settled
insert into quarantine_dropped (epoch, shard, reason, first_ms, last_ms, entries, entry_ms, entry_seq, entry_index)
select epoch, shard, reason, min(entry_ms), max(entry_ms), count(*),
       array_agg(entry_ms order by entry_ms, entry_seq, entry_index), array_agg(entry_seq order by entry_ms, entry_seq, entry_index),
       array_agg(entry_index order by entry_ms, entry_seq, entry_index)
  from unnest($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::uuid[], $7::quarantine_reason[])
    as rejected (epoch, shard, entry_ms, entry_seq, entry_index, event_id, reason)
 where not exists (select from events event
                    where event.id = rejected.event_id
                      and (event.epoch, event.shard, event.entry_ms, event.entry_seq, event.entry_index)
                        = (rejected.epoch, rejected.shard, rejected.entry_ms, rejected.entry_seq, rejected.entry_index))
   and not exists (select from repeats
                    where (repeats.epoch, repeats.shard, repeats.entry_ms, repeats.entry_seq, repeats.entry_index)
                        = (rejected.epoch, rejected.shard, rejected.entry_ms, rejected.entry_seq, rejected.entry_index))
   and not exists (select from quarantine kept
                    where (kept.epoch, kept.shard, kept.entry_ms, kept.entry_seq, kept.entry_index)
                        = (rejected.epoch, rejected.shard, rejected.entry_ms, rejected.entry_seq, rejected.entry_index))
   and (epoch, shard, entry_ms, entry_seq, entry_index) not in
       (select epoch, shard, entry_ms, entry_seq, entry_index from dropped_among($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::smallint[]))
 group by epoch, shard, reason
returning epoch, shard, reason, entries, cardinality(array_remove(entry_index, 0::smallint)) as beyond_first

-- quarantine_wake: note changes that open entries wait for
insert into quarantine_wakes (ref)
select ref from unnest($1::text[]) as ref
 where exists (select from quarantine
                where status = 'open' and waits_for <> '{}' and waits_for @> array[ref])

-- budget_count: the open entries that clients caused, by workspace; those without a key also by link or code, and by the network of their sender, where one has many
select grouping(named, sender) as level, workspace_id, coalesce(named, sender) as subject, count(*) as kept
  from (select workspace_id, sender,
               case when sender is not null then coalesce(link_id::text, namespace || ' ' || code) end as named
          from quarantine
         where status = 'open'
           and reason in ('unknown_link', 'inactive_link', 'unknown_program', 'unknown_click', 'expired', 'unauthorised')
       ) as held
 group by grouping sets ((workspace_id), (workspace_id, named), (workspace_id, sender))
having grouping(named, sender) = 3 or (count(*) >= $1::integer and coalesce(named, sender, '') <> '')

-- budget_expire: discard the next entries that were last tried so long ago; how many
with old as (
    select id, reason, detail, attempts
      from quarantine
     where status = 'open' and redrive_at is null and last_seen < now() - $2::interval
       and reason in ('unknown_link', 'inactive_link', 'unknown_program', 'unknown_click', 'expired', 'unauthorised')
     order by id
     limit $1
       for update skip locked
), told as (
    insert into quarantine_history (quarantine_id, who, action, note, before)
    select id, $3, 'discarded', 'nobody put it back in time',
           jsonb_build_object('reason', reason, 'detail', detail, 'attempts', attempts)
      from old order by id
), given_up as (
    update quarantine
       set status = 'discarded', payload = '', waits_for = '{}', look_at = null, tries = 0
      from old where quarantine.id = old.id
)
select count(*) from old
