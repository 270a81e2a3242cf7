-- order: a new replay
insert into replays (id, mode, requested) values ($1, $2, $3::jsonb)

-- order_part: a shard of a new replay
insert into replay_parts (replay_id, shard) values ($1, $2)

-- list: replays, newest first
select id, mode, status, scanned, inserted, changed, unchanged, quarantined, refused, damaged, damaged_segments,
       coalesce((requested->>'is_dry')::boolean, false) as dry_run, created_at, finished_at,
       round(extract(epoch from coalesce(finished_at, clock_timestamp()) - created_at)::numeric, 3)::float8 as seconds
  from replays
 order by id desc
 limit $1

-- open: replays that are not over, with how far they are; parts that have not begun are taken for as long as the others
select replay.id, mode, status, scanned, inserted, changed, part.*
  from replays replay
 cross join lateral (
       select coalesce(sum(read), 0)::bigint as read, coalesce(sum(case when is_done then read else greatest(expected, read) end) * count(*)
                / nullif(count(*) filter (where cursor is not null or is_done), 0), 0)::bigint as expected
         from replay_parts where replay_id = replay.id
       ) as part
 where status in ('running', 'paused')
 order by replay.id

-- one: a replay, with how far it is
select replay.id, mode, status, scanned, inserted, changed, unchanged, quarantined, refused, damaged, damaged_segments,
       coalesce((requested->>'is_dry')::boolean, false) as dry_run, created_at, finished_at,
       round(extract(epoch from coalesce(finished_at, clock_timestamp()) - created_at)::numeric, 3)::float8 as seconds,
       requested, part.*
  from replays replay
 cross join lateral (
       select coalesce(sum(read), 0)::bigint as read, coalesce(sum(case when is_done then read else greatest(expected, read) end) * count(*)
                / nullif(count(*) filter (where cursor is not null or is_done), 0), 0)::bigint as expected,
              count(*) as parts, count(*) filter (where is_done) as parts_done,
              count(*) filter (where not is_done and leased_until > now()) as workers
         from replay_parts where replay_id = replay.id
       ) as part
 where replay.id = $1

-- set: pause, resume or cancel; the status it has now, and whether it could be set
with changed as (
    update replays
       set status = $2, finished_at = case when $2 = 'cancelled'::replay_status then clock_timestamp() end
     where id = $1 and status = any($3::replay_status[])
    returning status
)
select coalesce((select status from changed), status) as status, exists (select from changed) as is_changed
  from replays
 where id = $1

-- codes: what a link is and was called
select code from links where id = $1
union
select code from link_aliases where link_id = $1

-- horizon: the end of the latest partition that is closed or detached; null where there is none
select greatest(
       (select max(until) from detached_partitions),
       -- What somebody detached by hand.
       max((to_date(substr(relname, 8), 'YYYYMM') + interval '1 month') at time zone 'UTC'))
  from pg_class
 where relkind = 'r' and relname ~ '^events_[0-9]{6}$' and relnamespace = current_schema()::regnamespace
   and not exists (select from pg_inherits where inhrelid = pg_class.oid and inhparent = 'events'::regclass)
