-- counts_add: add to the counters of links, enrolments and days; a missing enrolment is made. One statement, since whoever counts holds what others wait for. Each part begins when the one before is done, so that all take their locks in this order, and in that of the keys
with of_links as (
    select * from unnest($1::uuid[], $2::text::bigint[], $3::text::bigint[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[], $7::timestamptz[])
        as change (id, clicks, bot_clicks, duplicate_clicks, leads, sales, clicked_at)
), locked as materialized (
    select id from links where id = any($1) order by id for no key update
), linked as (
    update links
       set clicks = links.clicks + change.clicks,
           bot_clicks = links.bot_clicks + change.bot_clicks,
           duplicate_clicks = links.duplicate_clicks + change.duplicate_clicks,
           leads = links.leads + change.leads,
           sales = links.sales + change.sales,
           last_clicked_at = greatest(links.last_clicked_at, change.clicked_at)
      from locked join of_links change using (id)
     where links.id = locked.id
    returning links.id
), enrolled as (
    insert into program_partners as total
           (program_id, partner_id, clicks, bot_clicks, duplicate_clicks, leads, sales)
    select * from unnest($8::uuid[], $9::uuid[], $10::text::bigint[], $11::text::bigint[], $12::text::bigint[], $13::text::bigint[], $14::text::bigint[])
        as change (program_id, partner_id, clicks, bot_clicks, duplicate_clicks, leads, sales)
     where (select count(*) from linked) is not null
     order by program_id, partner_id
    on conflict (program_id, partner_id) do update
       set clicks = total.clicks + excluded.clicks,
           bot_clicks = total.bot_clicks + excluded.bot_clicks,
           duplicate_clicks = total.duplicate_clicks + excluded.duplicate_clicks,
           leads = total.leads + excluded.leads,
           sales = total.sales + excluded.sales
    returning total.program_id
)
insert into link_days as total (link_id, day, clicks, bot_clicks, duplicate_clicks, leads, sales)
select * from unnest($15::uuid[], $16::date[], $17::text::bigint[], $18::text::bigint[], $19::text::bigint[], $20::text::bigint[], $21::text::bigint[])
    as change (link_id, day, clicks, bot_clicks, duplicate_clicks, leads, sales)
 where (select count(*) from enrolled) is not null
 order by link_id, day
on conflict (link_id, day) do update
   set clicks = total.clicks + excluded.clicks,
       bot_clicks = total.bot_clicks + excluded.bot_clicks,
       duplicate_clicks = total.duplicate_clicks + excluded.duplicate_clicks,
       leads = total.leads + excluded.leads,
       sales = total.sales + excluded.sales

-- link_amounts_count: add to what links' sales are worth
insert into link_amounts as total (link_id, currency, amount)
select * from unnest($1::uuid[], $2::text[], $3::bigint[]) as change (link_id, currency, amount)
 order by link_id, currency
on conflict (link_id, currency) do update
   set amount = total.amount + excluded.amount

-- program_partner_amounts_count: add to what enrolments' sales are worth
insert into program_partner_amounts as total (program_id, partner_id, currency, amount)
select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[])
    as change (program_id, partner_id, currency, amount)
 order by program_id, partner_id, currency
on conflict (program_id, partner_id, currency) do update
   set amount = total.amount + excluded.amount
