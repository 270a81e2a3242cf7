-- quarantine_held: which of these entries an earlier delivery quarantined or dropped, and no redrive recorded
select epoch, shard, entry_ms, entry_seq
  from quarantine
 where (epoch, shard, entry_ms, entry_seq) in (select * from unnest($1::text::int[], $2::text::smallint[], $3::text::bigint[], $4::text::bigint[]))
   and status <> 'redriven'
union all
select epoch, shard, entry_ms, entry_seq
  from dropped_among($1::text::int[], $2::text::smallint[], $3::text::bigint[], $4::text::bigint[])

-- quarantine_add: keep entries with their reasons; not those that an earlier delivery recorded or dropped
insert into quarantine (epoch, shard, entry_ms, entry_seq, event_id, kind, dialect, workspace_id,
                        namespace, code, link_id, reason, detail, payload, waits_for, look_at, consumer)
select epoch, shard, entry_ms, entry_seq, event_id, kind, dialect, workspace_id, namespace, code, link_id, reason,
       detail, payload, array(select jsonb_array_elements_text(waits_for::jsonb)),
       -- The publisher cannot see this row yet: check once for what it waits for.
       case when waits_for <> '[]' then now() end, $16::text
  from unnest($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::uuid[], $6::event_kind[], $7::text[], $8::uuid[],
              $9::text[], $10::text[], $11::uuid[], $12::quarantine_reason[], $13::text[], $14::bytea[], $15::text[])
    as culprit (epoch, shard, entry_ms, entry_seq, event_id, kind, dialect, workspace_id,
                namespace, code, link_id, reason, detail, payload, waits_for)
 where not exists (select from events event
                    where event.id = culprit.event_id
                      and (event.epoch, event.shard, event.entry_ms, event.entry_seq)
                        = (culprit.epoch, culprit.shard, culprit.entry_ms, culprit.entry_seq))
   and not exists (select from repeats
                    where (repeats.epoch, repeats.shard, repeats.entry_ms, repeats.entry_seq)
                        = (culprit.epoch, culprit.shard, culprit.entry_ms, culprit.entry_seq))
   and (epoch, shard, entry_ms, entry_seq) not in
       (select epoch, shard, entry_ms, entry_seq from dropped_among($1::int[], $2::smallint[], $3::bigint[], $4::bigint[]))
 order by epoch, shard, entry_ms, entry_seq
on conflict (epoch, shard, entry_ms, entry_seq) do update
   set attempts = quarantine.attempts + 1, last_seen = now()
returning epoch, shard, reason, xmax = 0 as is_new

-- quarantine_alone: one worker at a time drops entries of a shard; no constraint prevents duplicates here
select pg_advisory_xact_lock(hashtext('reftide dropped'), shard)
  from (select distinct unnest($1::smallint[]) as shard order by 1) as shards

-- quarantine_drop: list entries by their places, without payloads; not those that an earlier delivery accounted for
insert into quarantine_dropped (epoch, shard, reason, first_ms, last_ms, entries, entry_ms, entry_seq)
select epoch, shard, reason, min(entry_ms), max(entry_ms), count(*),
       array_agg(entry_ms order by entry_ms, entry_seq), array_agg(entry_seq order by entry_ms, entry_seq)
  from unnest($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::uuid[], $6::quarantine_reason[])
    as culprit (epoch, shard, entry_ms, entry_seq, event_id, reason)
 where not exists (select from events event
                    where event.id = culprit.event_id
                      and (event.epoch, event.shard, event.entry_ms, event.entry_seq)
                        = (culprit.epoch, culprit.shard, culprit.entry_ms, culprit.entry_seq))
   and not exists (select from repeats
                    where (repeats.epoch, repeats.shard, repeats.entry_ms, repeats.entry_seq)
                        = (culprit.epoch, culprit.shard, culprit.entry_ms, culprit.entry_seq))
   and not exists (select from quarantine kept
                    where (kept.epoch, kept.shard, kept.entry_ms, kept.entry_seq)
                        = (culprit.epoch, culprit.shard, culprit.entry_ms, culprit.entry_seq))
   and (epoch, shard, entry_ms, entry_seq) not in
       (select epoch, shard, entry_ms, entry_seq from dropped_among($1::int[], $2::smallint[], $3::bigint[], $4::bigint[]))
 group by epoch, shard, reason
returning epoch, shard, reason, entries

-- quarantine_wake: note changes that open entries wait for
insert into quarantine_wakes (ref)
select ref from unnest($1::text[]) as ref
 where exists (select from quarantine
                where status = 'open' and waits_for <> '{}' and waits_for @> array[ref])
