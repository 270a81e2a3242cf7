-- report: the largest of what was found, at most so many ($4), and the sum of everything
with found as materialized ({found}
), listed as (
    select * from found order by {order} limit $4
)
select * from (
    select key, id, workspace, {sums_kept}, amounts, false as is_total from listed
    union all
    select null, null, null, {sums}, null, true from found
) as report
 where $2::date is null or $3::date is null or $2 < $3
 order by is_total, {order}

-- links: by link, from its counters
select links.code as key, links.public_id as id, workspaces.name as workspace, {counters},
       (select array_agg(currency || ' ' || amount order by currency)
          from link_amounts where link_id = links.id and amount <> 0) as amounts
  from links join workspaces on workspaces.id = links.workspace_id
 where ($1::uuid is null or links.workspace_id = $1) and ($5::uuid is null or links.id = $5)

-- enrolled: by program or by partner, from the counters of partners in programs
select {named}, {sums}, min(worth.amounts) as amounts
  from (select *, {column} as whose from program_partners) as enrolled
  {joined}
  left join (
        select {column}, array_agg(currency || ' ' || amount order by currency) as amounts
          from (select {column}, currency, sum(amount) as amount
                  from program_partner_amounts group by 1, 2) as summed
         where amount <> 0
         group by 1
       ) as worth using ({column})
 where ($1::uuid is null or workspace_id = $1) and $5::uuid is null
 group by {by}s.id, workspaces.id

-- links_of_days: by link, from the counters of days
select links.code as key, links.public_id as id, workspaces.name as workspace, {day_sums}, null::text[] as amounts
  from link_days
  join links on links.id = link_id
  join workspaces on workspaces.id = workspace_id
 where ($1::uuid is null or workspace_id = $1) and ($5::uuid is null or links.id = $5)
   and day >= coalesce($2::date, '-infinity') and day < coalesce($3::date, 'infinity')
 group by links.id, workspaces.id

-- days: by day
select day as key, null::text as id, null::text as workspace, {day_sums}, null::text[] as amounts
  from link_days
  join links on links.id = link_id
 where ($1::uuid is null or workspace_id = $1) and ($5::uuid is null or links.id = $5)
   and day >= coalesce($2::date, '-infinity') and day < coalesce($3::date, 'infinity')
 group by day

-- folded: the lowest id that is not of a folded month
select folded_floor()

-- facets: by a facet, of one link ($5) or of workspaces as a whole
with summed as (
    select value, {sums} from facets where {of_facets} group by value
), worth as materialized (
    select value, array_agg(currency || ' ' || amount order by currency) as amounts
      from (select value, currency, sum(amount) as amount from facet_amounts where {of_facets} group by 1, 2) as each
     where amount <> 0
     group by value
)
select nullif(value, '') as key, null::text as id, null::text as workspace, {counters}, amounts
  from summed left join worth using (value)

-- of_facets: which rows of facets, and of what they are worth, that is; said so that their index finds them
facet = '{facet}' and not is_test
and workspace_id = any (array(select workspaces.id from workspaces where $1::uuid is null or workspaces.id = $1))
and case when $5::uuid is null then link_id is null else link_id = $5 end
and day >= coalesce($2::date, '-infinity') and day < coalesce($3::date, 'infinity')

-- rows: from what the counters are the sums of: rows from an id ($5) on, and what stands for those that are folded
with contributed as (
    select link_id, program_id, partner_id, currency, amount, {counters}
      from shares
     where id >= $5
       and at >= coalesce($2::date::timestamp at time zone 'UTC', '-infinity')
       and at < coalesce($3::date::timestamp at time zone 'UTC', 'infinity')
    union all
    select link_id, program_id, partner_id, currency, amount, {counters}
      from counter_base
     where day >= coalesce($2::date, '-infinity') and day < coalesce($3::date, 'infinity')
), summed as (
    select contributed.{column} as whose, currency, {own_sums}, sum(amount)::bigint as amount
      from contributed
      join links on links.id = link_id
     where ($1::uuid is null or workspace_id = $1) and {which}
     group by 1, 2
), counted as (
    select whose, {sums},
           array_agg(currency || ' ' || amount order by currency) filter (where amount <> 0) as amounts
      from summed group by 1
)
select {named}, {counters}, amounts from counted {joined}

-- filtered: by one thing, from recorded rows that meet filters: a link ($5), a partner, a program and values of facets
with contributed as (
    select {column} as whose, currency, {sums}, sum(amount)::bigint as amount
      from every_share
     where not is_test and ($1::uuid is null or workspace_id = $1)
       -- An id is made when its event is accepted, and clocks differ.
       and id >= uuid7_floor(($2::date - 1)::timestamp at time zone 'UTC')
       and at >= $2::date::timestamp at time zone 'UTC' and at < $3::date::timestamp at time zone 'UTC'
       and ($5::uuid is null or link_id = $5) and ($6::uuid is null or partner_id = $6)
       and ($7::uuid is null or program_id = $7) and {facets_are}
     group by 1, 2
), counted as (
    select whose, {sums},
           array_agg(currency || ' ' || amount order by currency) filter (where amount <> 0) as amounts
      from contributed group by 1
)
select {named}, {own_counters}, counted.amounts from counted {joined}

-- lead_times: seconds from clicks to the latest leads ($4) that they earned and that meet the filters of `filtered`
select count(*) as leads,
       percentile_disc(0.5) within group (order by seconds) as median,
       percentile_disc(0.9) within group (order by seconds) as most
  from (select extract(epoch from lead.at - click.at)::float as seconds
          from (select * from events
                 where kind = 'lead' and not is_duplicate and not is_test and attributed_id is not null
                   and ($1::uuid is null or workspace_id = $1)
                   and id >= uuid7_floor(($2::date - 1)::timestamp at time zone 'UTC')
                   and at >= $2::date::timestamp at time zone 'UTC' and at < $3::date::timestamp at time zone 'UTC'
                   and ($5::uuid is null or link_id = $5) and ($6::uuid is null or partner_id = $6)
                   and ($7::uuid is null or program_id = $7) and {facets_are}
                 order by at desc
                 limit $4) as lead
          join events as click on click.id = lead.attributed_id) as times

-- ids: of a link and a partner by public id, and of a program by number, in a workspace or in any
select (select id from links where public_id = $1 and ($4::uuid is null or workspace_id = $4)) as link,
       (select id from partners where public_id = $2 and ($4::uuid is null or workspace_id = $4)) as partner,
       (select id from programs where number::text = $3 and ($4::uuid is null or workspace_id = $4)) as program
