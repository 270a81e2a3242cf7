-- list: erasures, newest first
select erasures.id, workspaces.name as workspace, customer_id, asked_at, who, note,
       (counts ->> 'events')::bigint as events,
       case when rows_done_at is null then 'rows' when streams_done_at is null then 'streams' else 'done' end as state
  from erasures left join workspaces on workspaces.id = erasures.workspace_id
 order by asked_at desc
 limit $1

-- one: an erasure, and how far it is
select erasures.id, workspaces.name as workspace, erasures.workspace_id, customer_id, customers, clicks, who, note,
       asked_at, rows_done_at, streams_done_at, counts,
       (select count(*) from erasure_events where erasure_id = erasures.id) as events_left,
       (select count(*) from erasure_leftovers) as waiting,
       case when rows_done_at is null then 'rows' when streams_done_at is null then 'streams' else 'done' end as state
  from erasures left join workspaces on workspaces.id = erasures.workspace_id
 where erasures.id = $1

-- archives: the archives that were ever rewritten, and whether they know of everybody
select host, directory, swept_at, lines, version >= (select version from erasure_key) as is_current
  from erasure_archives order by host, directory

-- detached: tables of events that no longer count as events
select relname from pg_class
 where relkind = 'r' and relname ~ '^events_[0-9]{6}$' and relnamespace = current_schema()::regnamespace
   and not exists (select from pg_inherits where inhrelid = pg_class.oid and inhparent = 'events'::regclass)
 order by relname
