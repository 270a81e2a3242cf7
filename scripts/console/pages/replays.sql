-- alone: wait for others who start the same dry run
select pg_advisory_xact_lock(hashtextextended('console replay ' || $1, 0))

-- started: the replay that was started from a dry run
select arguments ->> 'replay' from operations
 where what = 'replays start' and arguments ->> 'dry_run' = $1 and at > (select created_at from replays where id = $1::uuid)
 limit 1

-- who: who asked for a replay and stopped it, of the latest acts, oldest first
select at, who, what
  from (select * from operations order by id desc limit 5000) as latest
 where what like 'replays %' and arguments ->> 'replay' = $1
 order by id
