-- alone: let nobody else repair until the connection ends; whether that was granted
select pg_try_advisory_lock(hashtext('reftide reconcile'))
