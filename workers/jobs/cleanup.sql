-- claims_sweep: delete some of the claims that expired so long ago; how many
with expired as materialized (
    select workspace_id, scope, key
      from claims
     where expires_at < now() - $2::interval
     order by expires_at
     limit $1
       for update skip locked
), swept as (
    delete from claims using expired
     where (claims.workspace_id, claims.scope, claims.key) = (expired.workspace_id, expired.scope, expired.key)
    returning 1
)
select count(*) from swept

-- visits_expire: compare clicks of so long ago with no others from now on
update visits_since
   set quarter = greatest(quarter, floor(extract(epoch from now() - $1::interval) / 21600)::integer)

-- visits_sweep: delete some rows of clicks that are not compared; how many. The last hour before is kept for those that are
with expired as materialized (
    select key from visits
     where key < (select int4send(quarter - 1) from visits_since)
     order by key
     limit $1
       for update skip locked
), swept as (
    delete from visits using expired where visits.key = expired.key
    returning 1
)
select count(*) from swept

-- clicks_sweep: delete some of the short click ids that expired so long ago; how many
with expired as materialized (
    select workspace_id, token
      from imported_clicks
     where expires_at < now() - $2::interval
     order by expires_at
     limit $1
       for update skip locked
), swept as (
    delete from imported_clicks click using expired
     where (click.workspace_id, click.token) = (expired.workspace_id, expired.token)
    returning 1
)
select count(*) from swept

-- ledger_fold: what workers counted that counted nothing for so long becomes one row of each shard; how many rows went
with quiet as materialized (
    select epoch, shard, consumer
      from ledger
     where consumer <> '' and counted_at < now() - $1::interval
     order by epoch, shard, consumer
       for update skip locked
), gone as (
    delete from ledger using quiet
     where (ledger.epoch, ledger.shard, ledger.consumer) = (quiet.epoch, quiet.shard, quiet.consumer)
    returning ledger.epoch, ledger.shard, recorded, repeats, quarantined, beyond_first
), folded as (
    insert into ledger as total (epoch, shard, consumer, recorded, repeats, quarantined, beyond_first)
    select epoch, shard, '', sum(recorded), sum(repeats), sum(quarantined), sum(beyond_first)
      from gone
     group by epoch, shard
     order by epoch, shard
    on conflict (epoch, shard, consumer) do update
       set recorded = total.recorded + excluded.recorded,
           repeats = total.repeats + excluded.repeats,
           quarantined = total.quarantined + excluded.quarantined,
           beyond_first = total.beyond_first + excluded.beyond_first
)
select count(*) from gone
