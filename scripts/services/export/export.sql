-- alone: let nobody else export into that place until the transaction ends; whether that was granted
select pg_try_advisory_xact_lock(hashtext('reftide export'), hashtext($1))

-- ends: when the oldest and the newest event were accepted
select (select uuid7_time(id) from events order by id limit 1) as first,
       (select uuid7_time(id) from events order by id desc limit 1) as last

-- floor: before when nothing is exported: those months are detached, or closed for it
select max(until) from detached_partitions

-- fingerprint: how many events were accepted from one moment until another, and what is told of them
select count(*) as rows, coalesce(sum(hash_record_extended(event, 0)), 0)::text as sum
  from ({_selected}) as event

-- parts: the first id of each so many ($4) of these events
select id
  from (select id, row_number() over (order by id) - 1 as place
          from events
         where {_chosen}) as numbered
 where place % $4 = 0
 order by id

-- csv: a part as it is written to a file: from an id ($4) until another ($5), if there is one
{_part}

-- ndjson: the same, a JSON object each
select row_to_json(event)::text from ({_part}) as event

-- _part: the events of a part, in the order of their ids
{_selected} and event.id >= $4 and ($5::uuid is null or event.id < $5)
 order by event.id

-- _selected: what is told of events
select event.id, event.at as occurred_at, uuid7_time(event.id) as accepted_at, event.recorded_at, event.kind::text as kind,
       event.is_test, event.is_bot, event.is_duplicate,
       event.is_unverified or event.kind <> 'click' and event.api_key_id is null as is_unverified,
       event.quantity, event.name, event.amount, event.currency,
       workspaces.name as workspace, links.public_id as link, links.code, links.domain, programs.number as program,
       partners.code as partner, customers.external_id as customer, event.customer_id,
       event.click_id, event.attributed_id, event.session, event.dialect,
       event.page_url, event.referrer_host, event.country, event.region, event.city, event.device,
       event.os, event.os_version, event.browser, event.browser_version,
       encode(event.visitor, 'hex') as visitor, host(event.ip) as ip, event.properties::text as properties
  from events as event
  left join workspaces on workspaces.id = event.workspace_id
  left join links on links.id = event.link_id
  left join programs on programs.id = event.program_id
  left join partners on partners.id = event.partner_id
  left join customers on customers.id = event.customer_id
 where event.id >= uuid7_floor($1) and event.id < uuid7_floor($2)
   and ($3::uuid is null or event.workspace_id = $3)

-- _chosen: events accepted from one moment ($1) until another ($2), all or of a workspace ($3)
id >= uuid7_floor($1) and id < uuid7_floor($2) and ($3::uuid is null or workspace_id = $3)
