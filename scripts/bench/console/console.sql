-- partners: so many besides, of the workspace of the first link
insert into partners (id, workspace_id, public_id, code, name)
select gen_random_uuid(), workspace_id, 'prt_bench' || n, 'bench' || n, 'Partner ' || n
  from generate_series(1, $1::int) as n cross join (select workspace_id from links order by id limit 1) as first

-- links: so many besides, in turn of these partners
insert into links (id, workspace_id, public_id, namespace, code, url, program_id, partner_id)
select (left(uuid7_floor(now() - ($1 - n) * interval '1 second')::text, 24) || lpad(to_hex(n), 12, '0'))::uuid,
       first.workspace_id, 'lnk_bench' || n, '-', 'LINK' || n,
       'https://shop.example/articles/of/category/' || n % 100 || '?article=' || n, program_id, partners.id
  from generate_series(1, $1::int) as n
 cross join (select workspace_id, program_id from links where program_id is not null order by id limit 1) as first
  join (select id, row_number() over (order by code) - 1 as place, count(*) over () as total
          from partners where public_id like 'prt_bench%') as partners on partners.place = n % partners.total

-- enrol: their partners in the program
insert into program_partners (program_id, partner_id)
select distinct program_id, partner_id from links where program_id is not null and partner_id is not null
on conflict do nothing

-- events: by their numbers, evenly over thirty days from a millisecond ($3); of fifty one is a lead of the click before, of two hundred one a sale
insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch, shard, entry_seq, entry_ms,
                    workspace_id, link_id, program_id, partner_id, dialect, country, device, browser, referrer_host,
                    attributed_id, amount, currency)
select own.id, to_timestamp(own.ms / 1000.0), 0,
       case when number % 50 = 1 then 'lead' when number % 200 = 2 then 'sale' else 'click' end::event_kind,
       false, number % 20 = 3, number % 10 = 4, 1, 0, 0, number, own.ms,
       links.workspace_id, links.id, links.program_id, links.partner_id, 'refport',
       (array['DE', 'FR', 'US', 'GB', 'ES', 'IT', 'NL', 'PL', 'BR', 'IN', 'JP', 'CA', 'AU', 'SE', 'CH', 'AT'])[1 + pick % 16],
       (array['desktop', 'mobile', 'tablet'])[1 + pick % 3], (array['Chrome', 'Safari', 'Firefox', 'Edge'])[1 + pick % 4],
       'site' || pick % 200 || '.example',
       case when number % 50 = 1 then click.id end, case when number % 200 = 2 then 4900 end,
       case when number % 200 = 2 then 'EUR' end
  from generate_series($1::bigint, $2::bigint) as number
 cross join lateral (select hashint8(number)::bigint & 2147483647 as pick) as picked
  join (select *, row_number() over (order by id) - 1 as place, count(*) over () as total
          from links where public_id like 'lnk_bench%') as links on links.place = pick % links.total
 cross join lateral (
        select ms, (lpad(to_hex(ms), 12, '0') || '7' || lpad(to_hex(number & 4095), 3, '0')
                    || '8' || left(md5(number::text), 15))::uuid as id
          from (select $3::bigint + number * 2592000000 / $4::bigint as ms) as moment) as own
 cross join lateral (
        select (lpad(to_hex(ms), 12, '0') || '7' || lpad(to_hex((number - 1) & 4095), 3, '0')
                || '8' || left(md5((number - 1)::text), 15))::uuid as id
          from (select $3::bigint + (number - 1) * 2592000000 / $4::bigint as ms) as moment) as click

-- count_days: what counts for links by day
insert into link_days (link_id, day, {counters})
select link_id, day, {counter_sums} from shares where link_id is not null group by link_id, day

-- count_links: likewise, ever
update links
   set ({counters}) = (select {counter_sums} from link_days where link_id = links.id), last_clicked_at = now()
 where exists (select from link_days where link_id = links.id)

-- count_partners: likewise, for partners of programs
update program_partners as enrolled
   set ({counters}) = (select {counter_sums} from link_days
                        where link_id in (select id from links
                                           where links.program_id = enrolled.program_id
                                             and links.partner_id = enrolled.partner_id))
 where exists (select from link_days
                where link_id in (select id from links
                                   where links.program_id = enrolled.program_id
                                     and links.partner_id = enrolled.partner_id))

-- mark: the days that have facets to be made
insert into dirty (bucket)
select day::date from generate_series(to_timestamp($1::float) - interval '1 day', now() + interval '1 day', '1 day') as day

-- calm: what autovacuum would do in the middle of a measurement
vacuum (analyze) links, link_days, program_partners, facets, facet_amounts

-- work: commands of PostgreSQL so far
select pg_stat_force_next_flush(), xact_commit + xact_rollback as transactions
  from pg_stat_database where datname = current_database()
