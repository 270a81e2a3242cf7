-- alone: let nobody else repair until the transaction ends; whether that was granted
select pg_try_advisory_xact_lock(hashtext('reftide reconcile'))
