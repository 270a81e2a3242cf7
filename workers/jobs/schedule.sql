-- try_lock: lock a job until the end of the transaction; whether no other worker has it
select pg_try_advisory_xact_lock(hashtext('reftide job ' || $1))

-- partitions_make: the partitions of this month and the two after it; how many were missing
select count(*) filter (where make_partition(now() + months * interval '1 month'))
  from generate_series(0, 2) as months
