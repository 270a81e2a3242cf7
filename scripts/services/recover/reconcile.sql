-- alone: let nobody else repair until the connection ends; whether that was granted
select pg_try_advisory_lock(hashtext('reftide reconcile'))

-- links: what links' counters are and must be, where they differ
with truth as (
    select link_id as id, sum(clicks)::bigint as clicks,
           sum(bot_clicks)::bigint as bot_clicks,
           sum(duplicate_clicks)::bigint as duplicate_clicks,
           sum(leads)::bigint as leads, sum(sales)::bigint as sales
      from contributions
     group by link_id
)
select array[id::text] as key, coalesce(kept.public_id, id::text) as name, kept.id is not null as is_known,
       array[coalesce(truth.clicks, 0), coalesce(truth.bot_clicks, 0), coalesce(truth.duplicate_clicks, 0),
             coalesce(truth.leads, 0), coalesce(truth.sales, 0)] as expected,
       array[coalesce(kept.clicks, 0), coalesce(kept.bot_clicks, 0), coalesce(kept.duplicate_clicks, 0),
             coalesce(kept.leads, 0), coalesce(kept.sales, 0)] as found
  from truth full join links as kept using (id)
 where (coalesce(truth.clicks, 0), coalesce(truth.bot_clicks, 0), coalesce(truth.duplicate_clicks, 0),
        coalesce(truth.leads, 0), coalesce(truth.sales, 0))
    <> (coalesce(kept.clicks, 0), coalesce(kept.bot_clicks, 0), coalesce(kept.duplicate_clicks, 0),
        coalesce(kept.leads, 0), coalesce(kept.sales, 0))
 order by id

-- program_partners: what enrolments' counters are and must be, where they differ
with truth as (
    select program_id, partner_id, sum(clicks)::bigint as clicks,
           sum(bot_clicks)::bigint as bot_clicks,
           sum(duplicate_clicks)::bigint as duplicate_clicks,
           sum(leads)::bigint as leads, sum(sales)::bigint as sales
      from contributions
     where program_id is not null and partner_id is not null
     group by program_id, partner_id
)
select array[program_id::text, partner_id::text] as key, program_id || ' ' || partner_id as name,
       exists (select from programs where programs.id = program_id)
           and exists (select from partners where partners.id = partner_id) as is_known,
       array[coalesce(truth.clicks, 0), coalesce(truth.bot_clicks, 0), coalesce(truth.duplicate_clicks, 0),
             coalesce(truth.leads, 0), coalesce(truth.sales, 0)] as expected,
       array[coalesce(kept.clicks, 0), coalesce(kept.bot_clicks, 0), coalesce(kept.duplicate_clicks, 0),
             coalesce(kept.leads, 0), coalesce(kept.sales, 0)] as found
  from truth full join program_partners as kept using (program_id, partner_id)
 where (coalesce(truth.clicks, 0), coalesce(truth.bot_clicks, 0), coalesce(truth.duplicate_clicks, 0),
        coalesce(truth.leads, 0), coalesce(truth.sales, 0))
    <> (coalesce(kept.clicks, 0), coalesce(kept.bot_clicks, 0), coalesce(kept.duplicate_clicks, 0),
        coalesce(kept.leads, 0), coalesce(kept.sales, 0))
 order by program_id, partner_id

-- link_days: what links' days are and must be, where they differ
with truth as (
    select link_id, day, sum(clicks)::bigint as clicks,
           sum(bot_clicks)::bigint as bot_clicks,
           sum(duplicate_clicks)::bigint as duplicate_clicks,
           sum(leads)::bigint as leads, sum(sales)::bigint as sales
      from contributions
     group by link_id, day
)
select array[link_id::text, day::text] as key, link_id || ' ' || day as name, true as is_known,
       array[coalesce(truth.clicks, 0), coalesce(truth.bot_clicks, 0), coalesce(truth.duplicate_clicks, 0),
             coalesce(truth.leads, 0), coalesce(truth.sales, 0)] as expected,
       array[coalesce(kept.clicks, 0), coalesce(kept.bot_clicks, 0), coalesce(kept.duplicate_clicks, 0),
             coalesce(kept.leads, 0), coalesce(kept.sales, 0)] as found
  from truth full join link_days as kept using (link_id, day)
 where (coalesce(truth.clicks, 0), coalesce(truth.bot_clicks, 0), coalesce(truth.duplicate_clicks, 0),
        coalesce(truth.leads, 0), coalesce(truth.sales, 0))
    <> (coalesce(kept.clicks, 0), coalesce(kept.bot_clicks, 0), coalesce(kept.duplicate_clicks, 0),
        coalesce(kept.leads, 0), coalesce(kept.sales, 0))
 order by link_id, day

-- link_amounts: what links' sales are said to be worth and are worth, where that differs
with truth as (
    select link_id, currency, sum(amount)::bigint as amount
      from contributions
     where currency is not null
     group by link_id, currency
)
select array[link_id::text, currency::text] as key, coalesce(links.public_id, link_id::text) || ' ' || currency as name, true as is_known,
       array[coalesce(truth.amount, 0)] as expected, array[coalesce(kept.amount, 0)] as found
  from truth full join link_amounts as kept using (link_id, currency)
  left join links on links.id = link_id
 where coalesce(truth.amount, 0) <> coalesce(kept.amount, 0)
 order by link_id, currency

-- program_partner_amounts: the same for enrolments
with truth as (
    select program_id, partner_id, currency, sum(amount)::bigint as amount
      from contributions
     where program_id is not null and partner_id is not null and currency is not null
     group by program_id, partner_id, currency
)
select array[program_id::text, partner_id::text, currency::text] as key,
       program_id || ' ' || partner_id || ' ' || currency as name, true as is_known,
       array[coalesce(truth.amount, 0)] as expected, array[coalesce(kept.amount, 0)] as found
  from truth full join program_partner_amounts as kept using (program_id, partner_id, currency)
 where coalesce(truth.amount, 0) <> coalesce(kept.amount, 0)
 order by program_id, partner_id, currency

-- links_count: add to links' counters; locks them in the order of their ids
with change as (
    select * from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::timestamptz[])
        as change (id, clicks, bot_clicks, duplicate_clicks, leads, sales, clicked_at)
), locked as materialized (
    select id from links where id = any($1) order by id for no key update
)
update links
   set clicks = links.clicks + change.clicks,
       bot_clicks = links.bot_clicks + change.bot_clicks,
       duplicate_clicks = links.duplicate_clicks + change.duplicate_clicks,
       leads = links.leads + change.leads,
       sales = links.sales + change.sales,
       last_clicked_at = greatest(links.last_clicked_at, change.clicked_at)
  from locked join change using (id)
 where links.id = locked.id

-- program_partners_count: add to enrolments' counters; a missing enrolment is made
insert into program_partners as total
       (program_id, partner_id, clicks, bot_clicks, duplicate_clicks, leads, sales)
select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
    as change (program_id, partner_id, clicks, bot_clicks, duplicate_clicks, leads, sales)
 order by program_id, partner_id
on conflict (program_id, partner_id) do update
   set clicks = total.clicks + excluded.clicks,
       bot_clicks = total.bot_clicks + excluded.bot_clicks,
       duplicate_clicks = total.duplicate_clicks + excluded.duplicate_clicks,
       leads = total.leads + excluded.leads,
       sales = total.sales + excluded.sales

-- link_days_count: add to links' days
insert into link_days as total (link_id, day, clicks, bot_clicks, duplicate_clicks, leads, sales)
select * from unnest($1::uuid[], $2::date[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
    as change (link_id, day, clicks, bot_clicks, duplicate_clicks, leads, sales)
 order by link_id, day
on conflict (link_id, day) do update
   set clicks = total.clicks + excluded.clicks,
       bot_clicks = total.bot_clicks + excluded.bot_clicks,
       duplicate_clicks = total.duplicate_clicks + excluded.duplicate_clicks,
       leads = total.leads + excluded.leads,
       sales = total.sales + excluded.sales
