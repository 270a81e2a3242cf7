-- list: what could not be recorded, newest first
select quarantine.id, reason::text, status::text, kind::text, dialect, namespace, code,
       workspaces.name as workspace, detail, attempts, event_id, first_seen, last_seen
  from quarantine left join workspaces on workspaces.id = workspace_id
 where ($1::text is null or reason = $1::text::quarantine_reason)
   and ($2::text is null or status = $2::text::quarantine_status)
   and ($3::timestamptz is null or last_seen >= $3)
   and ($4::uuid is null or workspace_id = $4)
 order by quarantine.id desc
 limit $5

-- count: how many there are by the same filters
select count(*) from quarantine
 where ($1::text is null or reason = $1::text::quarantine_reason)
   and ($2::text is null or status = $2::text::quarantine_status)
   and ($3::timestamptz is null or last_seen >= $3)
   and ($4::uuid is null or workspace_id = $4)

-- one: everything about one of them
select quarantine.id, reason::text, detail, status::text, attempts, kind::text, dialect,
       workspaces.name as workspace, namespace, code, event_id, epoch, shard, entry_ms,
       entry_seq, consumer, first_seen, last_seen, payload
  from quarantine left join workspaces on workspaces.id = workspace_id
 where quarantine.id = $1
