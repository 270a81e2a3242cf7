-- epoch: an epoch of a shard that ended, with so many entries
insert into stream_epochs (shard, entries_added) values ($1, $2) returning epoch

-- progress: how far a replay is
select status::text, scanned, inserted, changed, unchanged,
       (select sum(read)::bigint from replay_parts where replay_id = $1) as read,
       extract(epoch from coalesce(finished_at, clock_timestamp()) - created_at)::float8 as seconds
  from replays where id = $1

-- digest: of all rows of epochs that ended, and of what is counted of their links
select md5(string_agg(line, '' order by line))
  from (select md5(event::text) as line from events event where epoch = any($1::integer[])
        union all
        select md5(customer::text) from customers customer
         where id in (select id from events where epoch = any($1::integer[]))
        union all
        select md5(link::text) from links link
         where id in (select link_id from events where epoch = any($1::integer[]))
        union all
        select md5(day::text) from link_days day
         where link_id in (select link_id from events where epoch = any($1::integer[]))) as lines

-- latency: from the id of an event to its commit, in milliseconds, of live events of a time
select count(*) as events,
       coalesce(percentile_cont(0.5) within group (order by ms), 0)::float8 as p50,
       coalesce(percentile_cont(0.99) within group (order by ms), 0)::float8 as p99
  from (select extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000
               - ('x' || substr(replace(id::text, '-', ''), 1, 12))::bit(48)::bigint as ms
          from events
         where epoch <> all ($1::integer[])
           and id between uuid7_floor(to_timestamp($2::float8)) and uuid7_floor(to_timestamp($3::float8))) as taken
