-- lock: wait for a job of workers, and keep it from running until the end of the transaction
select pg_advisory_xact_lock(hashtext('reftide job ' || $1))
