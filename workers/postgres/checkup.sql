-- facts: the server's settings, tables, connections and clock
select current_setting('server_version')                as version,
       current_setting('server_version_num')::int       as version_number,
       current_setting('synchronous_commit')            as synchronous_commit,
       current_setting('fsync')                         as fsync,
       current_setting('full_page_writes')              as full_page_writes,
       current_setting('default_transaction_read_only') as read_only,
       current_setting('max_connections')::int
         - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true), '0')::int as connections,
       (select count(*)::int from pg_stat_activity
         where backend_type = 'client backend' and application_name <> 'reftide') as taken,
       to_regclass('events') is not null                as has_events,
       to_regclass('directory_changes') is not null     as has_directory_changes,
       pg_is_in_recovery()                              as is_standby,
       current_user::text                               as role_name,
       (select coalesce(array_agg(relname::text order by relname), '{}')
          from pg_class
         where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p')
           and not pg_has_role(relowner, 'usage'))      as tables_of_others,
       has_schema_privilege(current_schema(), 'create') as may_create,
       extract(epoch from clock_timestamp())::float8    as clock,
       (select array_agg(partition order by partition)
          from (select 'events_' || to_char(now() at time zone 'UTC' + months * interval '1 month',
                                            'YYYYMM') as partition
                  from generate_series(0, 1) as months) as wanted
         where to_regclass(partition) is null)          as missing_partitions

-- session: the values of these settings in this session
select name, setting from pg_settings where name = any ($1::text[])

-- backend: which of the server's processes answers
select pg_backend_pid()

-- ledger: what became of the events, all together
select coalesce(sum(recorded), 0)::bigint     as recorded,
       coalesce(sum(repeats), 0)::bigint      as repeats,
       coalesce(sum(quarantined), 0)::bigint  as quarantined,
       coalesce(sum(lost), 0)::bigint         as lost
  from ledger

-- beyond_first: how many of the events of every epoch are not the first of their entry: settled or lost, and appended by edges
select epoch, coalesce(kept.beyond_first, 0)::bigint as kept, coalesce(appended.beyond_first, 0)::bigint as appended
  from (select epoch, sum(beyond_first + lost_beyond_first) as beyond_first from ledger group by epoch) as kept
  full join (select epoch, sum(beyond_first) as beyond_first from edge_appends group by epoch) as appended using (epoch)

-- quarantine: open entries by reason, also those that there are none of
select reason::text, (select count(*) from quarantine where status = 'open' and quarantine.reason = reasons.reason) as entries
  from unnest(enum_range(null::quarantine_reason)) as reasons (reason)

-- replays: entries that replays which are not over have still to read; parts that have not begun are taken for as long as the others
select coalesce(sum(part.left_over), 0)::bigint
  from replays replay
 cross join lateral (
       select coalesce(sum(case when is_done then 0 else greatest(expected - read, 0) end) * count(*)
                / nullif(count(*) filter (where cursor is not null or is_done), 0), 0) as left_over
         from replay_parts where replay_id = replay.id
       ) as part
 where status in ('running', 'paused')

-- past: how many entries the epochs had that ended, and how many vanished from the others
select coalesce(sum(case when epoch = any ($1::integer[]) then vanished else entries_added end), 0)::bigint from stream_epochs

-- catalog: what is in the schema, by kind and name; of functions also the text
select case when relkind in ('i', 'I') then 'index' else 'table' end as kind, relname::text as name, null as body
  from pg_class
 where relnamespace = current_schema()::regnamespace
union all
select 'column', relname || '.' || attname, null
  from pg_attribute join pg_class on pg_class.oid = attrelid
 where relnamespace = current_schema()::regnamespace and attnum > 0 and not attisdropped
union all
select 'function', proname::text, prosrc
  from pg_proc
 where pronamespace = current_schema()::regnamespace

-- streams_seen: when workers last saw the streams of these shards
select max(seen_at) at time zone 'UTC' from stream_epochs where shard = any ($1::integer[])
