-- _filter: the entries that meet all that is said; link codes in use and former ones
($1::text is null or reason = $1::text::quarantine_reason)
   and ($2::text is null or status = $2::text::quarantine_status)
   and ($3::timestamptz is null or last_seen >= $3)
   and ($4::timestamptz is null or last_seen < $4)
   and ($5::uuid[] is null or workspace_id = any($5))
   and ($6::text is null or code = $6 or link_id in (select id from links where code = $6 union all select link_id from link_aliases where code = $6))
   and ($7::bigint[] is null or quarantine.id = any($7))
   and ($8::text is null or dialect = $8)
   and ($9::text is null or strpos(lower(concat_ws(' ', code, detail, event_id)), lower($9)) > 0 or position(convert_to($9, 'UTF8') in payload) > 0)

-- list: what could not be recorded, newest first; of a further page what is below an id
select quarantine.id, reason::text, status::text, kind::text, dialect, namespace, code,
       workspaces.name as workspace, detail, attempts, event_id, first_seen, last_seen
  from quarantine left join workspaces on workspaces.id = workspace_id
 where {_filter}
   and ($10::bigint is null or quarantine.id < $10)
 order by quarantine.id desc
 limit $11

-- count: how many there are by the same filters; beyond a number, if one is given, nobody counts
select count(*) from (select from quarantine where {_filter} limit $10) as counted

-- summary: how many there are by the same filters, and when they came
select reason::text, workspaces.name as workspace, dialect, count(*) as entries,
       count(*) filter (where last_seen > now() - interval '1 hour') as last_hour,
       count(*) filter (where last_seen > now() - interval '1 day') as last_day,
       min(first_seen) as first, max(last_seen) as latest
  from quarantine left join workspaces on workspaces.id = workspace_id
 where {_filter}
 group by 1, 2, 3
 order by entries desc, 1, 2, 3
 limit 200

-- dropped: what was counted and not kept, since clients caused more than there is room for
select reason::text, sum(entries)::bigint as entries, min(dropped_at) as first, max(dropped_at) as latest
  from quarantine_dropped
 group by reason
 order by 2 desc, 1

-- stuck: open entries that only an edit or another release can record, by reason
select reason::text, count(*) as entries, min(first_seen) as since
  from quarantine
 where status = 'open' and reason in ('undecodable', 'unstorable', 'crash_loop')
 group by reason
 order by 2 desc, 1

-- one: everything about one of them
select quarantine.id, reason::text, detail, status::text, attempts, kind::text, dialect,
       workspaces.name as workspace, workspace_id, namespace, code, event_id, epoch, shard, entry_ms,
       entry_seq, entry_index, link_id, consumer, first_seen, last_seen, waits_for, redrive_at, payload
  from quarantine left join workspaces on workspaces.id = workspace_id
 where quarantine.id = $1

-- history: what was done to it, oldest first
select at, who, action::text, note, before, payload
  from quarantine_history where quarantine_id = $1 order by id

-- ask: mark the next open entries by the same filters, to be put back; how many those were
with chosen as (
    select id, reason, detail, attempts from quarantine
     where {_filter}
       and status = 'open' and request is distinct from $10::uuid
     order by id
     limit $12
       for update
), told as (
    insert into quarantine_history (quarantine_id, who, action, before)
    select id, $11, 'asked', jsonb_build_object('reason', reason, 'detail', detail, 'attempts', attempts)
      from chosen order by id
), marked as (
    update quarantine set redrive_at = now(), request = $10, tries = 0
      from chosen where quarantine.id = chosen.id
)
select count(*) from chosen

-- progress: how far a request is
select count(*) as asked,
       count(*) filter (where status = 'redriven') as redriven,
       count(*) filter (where status = 'open' and redrive_at is null) as failed,
       count(*) filter (where status = 'open' and redrive_at is not null) as waiting
  from quarantine where request = $1

-- refused: why entries of a request are still here
select reason::text, count(*) as entries, min(id) as for_example
  from quarantine
 where request = $1 and status = 'open' and redrive_at is null
 group by reason order by 2 desc, 1

-- cancel: take back what no worker has begun of a request; how much that is. What waits for its time waits on
with cancelled as (
    update quarantine
       set request = null,
           redrive_at = case when reason = 'future_id' then uuid7_time(event_id) - interval '5 minutes' end
     where request = $1 and status = 'open' and redrive_at is not null and tries = 0
    returning id
)
select count(*) from cancelled

-- discard: give the next open entries by the same filters up; how many those were
with chosen as (
    select id, reason, detail, attempts from quarantine
     where {_filter}
       and status = 'open'
     order by id
     limit $12
       for update
), told as (
    insert into quarantine_history (quarantine_id, who, action, note, before)
    select id, $11, 'discarded', $10, jsonb_build_object('reason', reason, 'detail', detail, 'attempts', attempts)
      from chosen order by id
), given_up as (
    update quarantine
       set status = 'discarded', waits_for = '{}', look_at = null, redrive_at = null, tries = 0
      from chosen where quarantine.id = chosen.id
)
select count(*) from chosen

-- edit: put another envelope in the place of the one that was read; nothing where it is another by now. It stays until it is asked for, or until something comes that it waits for
with former as (
    select id, reason, detail, attempts, payload from quarantine
     where id = $1 and status = 'open' and payload = $2
       for update
), told as (
    insert into quarantine_history (quarantine_id, who, action, before, payload)
    select id, $3, 'edited', jsonb_build_object('reason', reason, 'detail', detail, 'attempts', attempts), payload
      from former
)
update quarantine
   set payload = $4, event_id = $5, kind = $6::text::event_kind, dialect = $7,
       workspace_id = coalesce($8, workspace_id), namespace = $9, code = $10, link_id = $11,
       waits_for = $12::text[], look_at = null, redrive_at = null
  from former
 where quarantine.id = former.id
returning quarantine.id
