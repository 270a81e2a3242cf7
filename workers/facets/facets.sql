-- try_lock: lock facets until the end of the transaction; whether nobody else has them
select pg_try_advisory_xact_lock(hashtext('reftide facets'))

-- lock: lock facets until the end of the transaction
select pg_advisory_xact_lock(hashtext('reftide facets'))

-- no_timeout: let a statement take as long as the caller waits, until the end of the transaction
select set_config('statement_timeout', '0', true), set_config('work_mem', '64MB', true)

-- next: the bucket that was marked first, if there was rest enough
select bucket from dirty where (select until <= now() from facets_rest) order by seq limit 1

-- marked: the marked buckets of a time, or all
select distinct bucket from dirty
 where bucket >= coalesce(($1::timestamptz at time zone 'UTC')::date, '-infinity')
   and bucket < coalesce(($2::timestamptz at time zone 'UTC')::date, 'infinity')
 order by bucket

-- unmark: delete a bucket's marks; whether its month is not folded
with unmarked as (
    delete from dirty where bucket = $1
)
select uuid7_floor($1::date::timestamp at time zone 'UTC') >= folded_floor()

-- mark_recent: mark the buckets of yesterday and today
insert into dirty (bucket) select (now() at time zone 'UTC')::date - days from generate_series(0, 1) as days

-- rest: four times as long as this transaction took
update facets_rest set until = clock_timestamp() + 4 * (clock_timestamp() - now())

-- make: sum up a bucket's rows by link and, of all links, by workspace; write what differs
with summed as materialized (
    select workspace_id, link_id, day, is_test, currency,
           case {facet} end as facet, coalesce(case {value} end, '') as value, {sums}, sum(amount)::bigint as amount
      from every_share
     where id >= uuid7_floor($1::date::timestamp at time zone 'UTC')
       and id < uuid7_floor(($1::date + 1)::timestamp at time zone 'UTC')
     group by workspace_id, link_id, day, is_test, currency, grouping sets ({sets})
), whole as materialized (
    select *, link_id as side from summed where link_id is not null
    union all
    select workspace_id, null, day, is_test, currency, facet, value, {sums}, sum(amount)::bigint, workspace_id
      from summed
     group by workspace_id, day, is_test, currency, facet, value
), ranked as (
    select side, facet, is_test, day, value,
           row_number() over (partition by side, facet, is_test, day
                              order by sum(clicks + leads + unverified_leads + sales + refunds) desc, value) as place
      from whole
     group by side, facet, is_test, day, value
), named as materialized (
    select whole.*, case when place <= {largest} then value else '{others}' end as shown
      from whole join ranked using (side, facet, is_test, day, value)
), new as materialized (
    select workspace_id, link_id, side, facet, shown as value, is_test, day, {sums}
      from named group by workspace_id, link_id, side, facet, shown, is_test, day
), new_amounts as materialized (
    select workspace_id, link_id, side, facet, shown as value, is_test, day, currency, sum(amount)::bigint as amount
      from named where currency is not null
     group by workspace_id, link_id, side, facet, shown, is_test, day, currency
), gone as (
    delete from facets as kept
     where bucket = $1
       and not exists (select from new
                        where (side, facet, value, is_test, day)
                              = (coalesce(kept.link_id, kept.workspace_id), kept.facet, kept.value, kept.is_test, kept.day))
), gone_amounts as (
    delete from facet_amounts as kept
     where bucket = $1
       and not exists (select from new_amounts
                        where (side, facet, value, is_test, day, currency)
                              = (coalesce(kept.link_id, kept.workspace_id), kept.facet, kept.value, kept.is_test, kept.day,
                                 kept.currency))
), amounts as (
    insert into facet_amounts as kept (bucket, {key}, currency, amount)
    select $1, {key}, currency, amount from new_amounts
    on conflict (bucket, {key}, currency) do update set amount = excluded.amount
     where kept.amount <> excluded.amount
)
insert into facets as kept (bucket, {key}, {counters})
select $1, {key}, {counters} from new
on conflict (bucket, {key}) do update set {changed}
 where ({kept}) <> ({new})
