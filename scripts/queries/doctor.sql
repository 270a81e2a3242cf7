-- facts: what the server is set to, what it holds, and its clock
select current_setting('server_version')            as version,
       current_setting('server_version_num')::int   as version_number,
       current_setting('synchronous_commit')        as synchronous_commit,
       current_setting('fsync')                     as fsync,
       current_setting('full_page_writes')          as full_page_writes,
       to_regclass('events') is not null            as has_events,
       to_regclass('directory_changes') is not null as has_directory_changes,
       pg_is_in_recovery()                          as is_standby,
       extract(epoch from clock_timestamp())::float8  as clock,
       (select array_agg(partition order by partition)
          from (select 'events_' || to_char(now() at time zone 'UTC' + months * interval '1 month',
                                            'YYYYMM') as partition
                  from generate_series(0, 1) as months) as wanted
         where to_regclass(partition) is null)      as missing_partitions
