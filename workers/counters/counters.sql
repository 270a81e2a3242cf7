-- add_to_links: add to links' counters; locks them in the order of their ids
with change as (
    select * from unnest({arrays}, {clicked_at}::timestamptz[]) as change (id, {counters}, clicked_at)
), locked as materialized (
    select id from links where id = any({ids}) order by id for no key update
)
update links as total
   set {additions}, last_clicked_at = greatest(total.last_clicked_at, change.clicked_at)
  from locked join change using (id)
 where total.id = locked.id
returning total.id

-- add: add to the counters of a table, in the order of its key; a missing row is made
insert into {table} as total ({key}, {counters})
select * from unnest({arrays}) as change ({key}, {counters})
 where {condition}
 order by {key}
on conflict ({key}) do update set {additions}
returning 1

-- mark: mark buckets whose facets have to be made anew
insert into dirty (bucket) select unnest({buckets}::date[])

-- wrong: rows of a table whose counters are not the sums of their events
with truth as (
    select {key}, {sums}
      from contributions
     where ({key}) is not null
     group by {key}
)
select array[{key_texts}] as key, {label} as name, {is_known} as is_known, expected, found
  from truth full join {rows} as kept using ({key})
 cross join lateral (select array[{expected}] as expected, array[{found}] as found) as pair
 where expected <> found
 order by key
