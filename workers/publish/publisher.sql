-- publish_lock: try to become the one publisher of everything until the end of the transaction
select pg_try_advisory_xact_lock(hashtext('reftide publish'))

-- part_lock: the same of a part, while nobody publishes everything
select pg_try_advisory_xact_lock_shared(hashtext('reftide publish'))
   and pg_try_advisory_xact_lock(hashtext('reftide publish ' || $1::text))

-- changes_next: the oldest unpublished changes of a part
select seq, topic, ref from directory_changes
 where topic in ({topics})
 order by seq
 limit $1

-- changes_done: these are published
delete from directory_changes where seq = any($1::bigint[])

-- now_ms: Unix milliseconds
select (extract(epoch from clock_timestamp()) * 1000)::bigint

-- links_find: the fields of links' records
select links.id as link_uuid, links.workspace_id as workspace_uuid, links.public_id, links.namespace, links.code, links.domain, links.url, links.is_active,
       links.program_id as program_uuid, programs.number as program_number,
       links.partner_id as partner_uuid, partners.code as partner_code, partners.public_id as partner_public_id,
       partners.name as partner_name, partners.image as partner_image, links.discount::text as discount,
       programs.cookie_window_days, programs.attribution_window_days, programs.needs_server_lead,
       (extract(epoch from links.created_at) * 1000)::bigint as created_at,
       (extract(epoch from links.expires_at) * 1000)::bigint as ends_at,
       coalesce(links.fallback_url, programs.fallback_url) as fallback_url, links.click_param
  from links
  left join programs on programs.id = links.program_id
  left join partners on partners.id = links.partner_id
 where links.id = any($1::uuid[])

-- aliases_of_links: former codes of links
select namespace, code from link_aliases where link_id = any($1::uuid[])

-- codes_find: the links of codes; a present code takes precedence over a former one
select distinct on (namespace, code) namespace, code, link_id
  from (select namespace, code, id as link_id, 0 as place from links
         where (namespace, code) in (select * from unnest($1::text[], $2::text[]))
        union all
        select namespace, code, link_id, 1 from link_aliases
         where (namespace, code) in (select * from unnest($1::text[], $2::text[]))) as named
 order by namespace, code, place

-- partners_of_links: the programs and partners' codes of links
select distinct links.program_id, partners.code
  from links join partners on partners.id = links.partner_id
 where links.id = any($1::uuid[]) and links.program_id is not null

-- partner_links_find: the oldest links of some programs' partners, by the partners' codes
select distinct on (links.program_id, partners.code) links.program_id, partners.code, links.id as link_id
  from unnest($1::uuid[], $2::text[]) as named (program_id, code)
  join programs on programs.id = named.program_id
  join partners on partners.workspace_id = programs.workspace_id and partners.code = named.code
  join links on links.partner_id = partners.id and links.program_id = programs.id
 order by links.program_id, partners.code, links.created_at, links.id

-- customers_find: customers, with the click that their latest lead names, of those with a key if there is one, else the one that earned it
select customer.workspace_id, customer.external_id, true as is_recorded, customer.status::text,
       case when customer.used_on is not null then customer.keyed_status::text end as keyed_status,
       customer.is_bound_by_key,
       customer.name, customer.email, customer.email_sealed, customer.avatar,
       coalesce(named.click_id, earned.click_id) as click_uuid,
       case when named.click_id is null then earned.link_id else named.link_id end as link_uuid,
       customer.used_on is null as is_strangers,
       (extract(epoch from greatest((customer.used_on + $3::integer + 1)::timestamp at time zone 'UTC',
                                    coalesce(claimed.until, customer.seen_at))) * 1000)::bigint as expires_at
  from customers customer
  left join lateral (
        -- What nobody vouched for is kept while a click may earn it.
        select max(lead.at + make_interval(days => coalesce(program.attribution_window_days, $4::integer))) as until
          from (select at, coalesce(asked_program_id, program_id) as program_id from events
                 where customer_id = customer.id and kind <> 'click' and api_key_id is null and not is_test
                 order by at desc limit 64) as lead
          left join programs program on program.id = lead.program_id
       ) as claimed on true
  left join lateral (
        select coalesce(click.id, lead.click_id) as click_id, click.link_id
          from (select * from events
                 where customer_id = customer.id and kind <> 'click' and click_id is not null and not is_test
                 order by api_key_id is null, at desc, id desc limit 1) as lead
          left join event_aliases alias on alias.id = lead.click_id
          left join events click on click.id = coalesce(alias.event_id, lead.click_id) and click.kind = 'click'
       ) as named on true
  left join lateral (
        -- The root of the attributed click: the only id of it that was ever handed out.
        select coalesce(click.click_id, click.id) as click_id, lead.link_id
          from events lead
          join events click on click.id = lead.attributed_id
         where named.click_id is null
           and lead.customer_id = customer.id and lead.kind <> 'click'
           and lead.attributed_id is not null and not lead.is_test
         order by lead.at desc, lead.id desc limit 1
       ) as earned on true
 where (customer.workspace_id, customer.external_id) in (select * from unnest($1::uuid[], $2::text[]))
   and customer.external_id is not null

-- sales_find: sales by the keys of their claims, kept for longer than buyers send back what they bought, as a rule
select claims.workspace_id, claims.key, sale.amount, sale.partner_id is not null as is_earned,
       (extract(epoch from uuid7_time(sale.id) + interval '120 days') * 1000)::bigint as expires_at
  from claims
  join events sale on sale.id = claims.event_id and sale.kind = 'sale' and not sale.is_test
 where (claims.workspace_id, claims.key) in (select * from unnest($1::uuid[], $2::bytea[]))
   and claims.scope = 'sale'

-- stats_begin: until the end of the transaction statements may take five minutes; and read an index in its order, whatever statistics say of small tables
select set_config('statement_timeout', '300s', true), set_config('enable_bitmapscan', 'off', true),
       set_config('enable_seqscan', 'off', true)

-- stats_end: choose plans as usual again
select set_config('enable_bitmapscan', 'on', true), set_config('enable_seqscan', 'on', true)

-- stats_find: the stats of partners in programs that have stats; a session is one on each link
with link as (
    select links.id, links.code, links.created_at, links.partner_id, partners.workspace_id,
           partners.code as partner_code
      from unnest($1::uuid[], $2::text[]) as named (workspace_id, code)
      join partners on partners.workspace_id = named.workspace_id and partners.code = named.code
      join links on links.partner_id = partners.id
      join programs on programs.id = links.program_id and programs.has_stats
)
select link.workspace_id, link.partner_code,
       (select code from link as own where own.partner_id = link.partner_id
         order by created_at, id limit 1) as code,
       coalesce(sum(visit.conversions), 0)::bigint
           + (select coalesce(sum(base.conversions), 0)::bigint
                from counter_base base join link as own on own.id = base.link_id
               where own.partner_id = link.partner_id) as conversions,
       coalesce(sum(visit.pending), 0)::bigint as pending
  from link
  left join lateral (
        select sum(leads) as conversions, count(*) filter (where is_clicked and not is_converted) as pending
          -- In the order of an index, and nothing but the index is read. A range of ids would
          -- have another one read where the planner knows little.
          from (select sum(quantity) filter (where kind = 'lead' and not is_duplicate) as leads,
                       bool_or(kind = 'click' and not is_bot) as is_clicked,
                       bool_or(kind = 'lead') as is_converted
                  from events
                 where link_id = link.id and session is not null and not is_test
                   and greatest(id, (select folded_floor())) = id
                 group by session) as sessions
       ) as visit on true
 group by link.workspace_id, link.partner_code, link.partner_id

-- switches_find: everything that is switched off
select scope::text, subject from switches order by scope, subject

-- limits_find: all limits that operators set
select subject, per_minute from limits order by subject

-- domains_find: domains that have a namespace of their own
select domain, workspace_id as workspace_uuid, schemes, is_case_sensitive from domains where domain = any($1::text[])

-- programs_find: the fields of programs' records
select id as program_uuid, workspace_id as workspace_uuid, number, url, cookie_window_days, attribution_window_days, needs_server_lead
  from programs where id = any($1::uuid[])

-- keys_find: those of these keys that are not revoked
select id as key_uuid, workspace_id as workspace_uuid, key_hash, scopes, origins from api_keys where key_hash = any($1::bytea[]) and revoked_at is null

-- clicks_find: imported click ids, with the time of a click whose id is of another minute
select workspace_id, token, imported.click_id as click_uuid, link_id as link_uuid,
       (extract(epoch from clicked.at) * 1000)::bigint as dated,
       (extract(epoch from expires_at) * 1000)::bigint as expires_at, expires_at is not null as is_strangers
  from imported_clicks imported
  left join lateral (
        select at from events
         where id = coalesce((select event_id from event_aliases where id = imported.click_id), imported.click_id)
           and kind = 'click' and abs(extract(epoch from at - uuid7_time(imported.click_id))) > 60
        offset 0) as clicked on true
 where (workspace_id, token) in (select * from unnest($1::uuid[], $2::text[]))

-- links_of_program: the links whose records contain a program's columns
select id from links where program_id = $1

-- links_all: every link
select id from links

-- aliases_all: every former code
select namespace, code from link_aliases

-- domains_all: every domain
select domain from domains

-- programs_all: every program
select id from programs

-- keys_all: every key that is not revoked
select key_hash from api_keys where revoked_at is null

-- clicks_all: every imported click id
select workspace_id, token from imported_clicks

-- partner_links_all: the partners' codes of every program
select distinct links.program_id, partners.code
  from links join partners on partners.id = links.partner_id
 where links.program_id is not null

-- customers_all: every customer with an external id
select workspace_id, external_id from customers where external_id is not null

-- stats_all: every partner in a program that has stats
select distinct partners.workspace_id, partners.code
  from partners
  join links on links.partner_id = partners.id
  join programs on programs.id = links.program_id and programs.has_stats

-- sales_all: the keys of the sales that are kept
select workspace_id, key from claims
 where scope = 'sale' and event_id >= uuid7_floor(now() - interval '120 days')
