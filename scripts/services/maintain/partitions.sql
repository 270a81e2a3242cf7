-- alone: let nobody else move partitions until the transaction ends; whether that was granted
select pg_try_advisory_xact_lock(hashtext('reftide partitions'))

-- list: the months of events, oldest first, attached or not, with what detaching wrote down of them
with present as (
    select relname::text as name,
           to_date(substr(relname, 8), 'YYYYMM')::timestamp at time zone 'UTC' as since,
           inhrelid is not null and not inhdetachpending as is_attached,
           coalesce(inhdetachpending, false) as is_half,
           greatest(reltuples, 0)::bigint as estimate,
           pg_total_relation_size(pg_class.oid) as bytes
      from pg_class left join pg_inherits on inhrelid = pg_class.oid and inhparent = 'events'::regclass
     where relkind = 'r' and relname ~ '^events_[0-9]{6}$' and relnamespace = current_schema()::regnamespace
)
select name, coalesce(present.since, kept.since) as since,
       (coalesce(present.since, kept.since) at time zone 'UTC' + interval '1 month') at time zone 'UTC' as until,
       case when is_folded is null and is_attached then 'attached'
            when is_folded and bytes is null then 'gone'
            when is_folded and not is_attached and not is_half then 'detached'
            when is_folded then 'folded'
            when is_attached then 'closed'
            else 'by hand' end as state,
       coalesce(is_attached, false) as is_attached, coalesce(is_half, false) as is_half,
       coalesce(events, estimate) as events, bytes
  from present full join detached_partitions kept using (name)
 order by 2

-- window: for how many days a click may earn, by the programs there are
select coalesce(max(attribution_window_days), 0) from programs

-- close: let nothing of a month change any more
select close_partition($1, $2, $3)

-- reopen: let a month that is not folded change again
delete from detached_partitions where name = $1 and not is_folded

-- last_entry: when the last entry arrived that a month holds, by Redis' clock in Unix milliseconds
select coalesce(max(entry_ms), 0) from events where id >= uuid7_floor($1) and id < uuid7_floor($2)

-- fold_begin: whether a closed month is still to be folded; nobody else does it meanwhile
select not is_folded from detached_partitions where name = $1 for update

-- fold_shares: keep what a month's rows add to the counters
insert into counter_base (partition, link_id, program_id, partner_id, day, currency,
                          {counters}, amount, conversions)
select $1, link_id, program_id, partner_id, day, currency,
       {counter_sums}, sum(amount), sum(conversions)
  from shares
 where id >= uuid7_floor($2) and id < uuid7_floor($3)
 group by link_id, program_id, partner_id, day, currency

-- fold_ledger: keep how many rows a month has of every epoch of every shard
insert into ledger_base (partition, epoch, shard, recorded, beyond_first)
select $1, epoch, shard, count(*), count(*) filter (where entry_index > 0)
  from events
 where id >= uuid7_floor($2) and id < uuid7_floor($3)
 group by epoch, shard

-- fold_end: from now on a month counts by what was kept
update detached_partitions
   set is_folded = true,
       events = (select coalesce(sum(recorded), 0) from ledger_base where partition = $1)
 where name = $1

-- stats_changed: tell edges anew what partners brought whose links have conversions or sessions in a month
insert into directory_changes (topic, ref)
select distinct 'stats', partners.workspace_id || ' ' || partners.code
  from (select distinct link_id from events
         where id >= uuid7_floor($1) and id < uuid7_floor($2) and session is not null) as visited
  join links on links.id = visited.link_id
  join programs on programs.id = links.program_id and programs.has_stats
  join partners on partners.id = links.partner_id

-- lacking: columns of events that a table has not, or has as another type
select attname::text as name, format_type(ours.atttypid, ours.atttypmod) as type, ours.attnotnull as is_needed,
       pg_get_expr(adbin, adrelid) as fallback, theirs.attname is null as is_missing
  from pg_attribute ours
  left join pg_attrdef on (adrelid, adnum) = (ours.attrelid, ours.attnum)
  left join (select attname, atttypid, atttypmod from pg_attribute
              where attrelid = to_regclass($1) and attnum > 0 and not attisdropped) as theirs using (attname)
 where ours.attrelid = 'events'::regclass and ours.attnum > 0 and not ours.attisdropped
   and (theirs.attname is null or (ours.atttypid, ours.atttypmod) <> (theirs.atttypid, theirs.atttypmod))
 order by ours.attnum

-- unfold: a month counts by its rows again
with base as (
    delete from counter_base where partition = $1
), entries as (
    delete from ledger_base where partition = $1
)
delete from detached_partitions where name = $1

-- mark: let the facets of a month's days be made anew
insert into dirty (bucket)
select generate_series($1::timestamptz at time zone 'UTC', ($2::timestamptz - interval '1 day') at time zone 'UTC',
                       interval '1 day')::date

-- bounds: the ids of a month
select uuid7_floor($1)::text as low, uuid7_floor($2)::text as high
