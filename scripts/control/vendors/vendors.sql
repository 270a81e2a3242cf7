-- links: links of a workspace by what they are called, newest first
select links.id, links.public_id, external_id, links.domain, links.code, links.url, number as program,
       partners.public_id as partner, is_active, expires_at, links.fallback_url, last_clicked_at, links.created_at,
       links.workspace_id, {counters},
       (select coalesce(array_agg(currency || ' ' || amount order by currency), '{}')
          from link_amounts where link_id = links.id) as amounts
  from links
  left join programs on programs.id = program_id
  left join partners on partners.id = partner_id
 where {_called}
 order by links.id desc
 limit $11 offset $12

-- count: how many there are of them
select count(*) from links where {_called}

-- _called: links of a workspace ($1) that have all of this, those that are off ($10) too or not
links.workspace_id = $1
and ($2::text is null or links.public_id = $2)
and ($3::text is null or external_id = $3)
and ($4::text is null or links.domain = $4)
and ($5::text is null or links.code = $5)
and ($6::text is null or links.url = $6)
and ($7::text is null
     or case when octet_length($7) = length($7)
             then strpos(lower(concat_ws(' ', links.code, links.url) collate "C"), lower($7 collate "C"))
             else strpos(lower(concat_ws(' ', links.code, links.url)), lower($7)) end > 0)
and ($8::text is null or links.id < (select id from links where public_id = $8 and workspace_id = $1))
and ($9::text is null or links.id > (select id from links where public_id = $9 and workspace_id = $1))
and ($10::boolean or links.is_active)

-- partners: partners of a workspace, newest first, with what their links brought
select partners.public_id, partners.code, partners.name, partners.email, partners.image, partners.created_at,
       (select min(number) from programs where programs.workspace_id = $1) as program,
       coalesce(sum(unique_clicks), 0)::bigint as unique_clicks, coalesce(sum(leads), 0)::bigint as leads,
       coalesce(sum(sales), 0)::bigint as sales
  from (select * from partners
         where workspace_id = $1
           and ($2::text is null or public_id = $2)
           and ($3::text is null or email = $3)
           and ($4::text is null or strpos(lower(name || ' ' || code || ' ' || coalesce(email, '')), lower($4)) > 0)
         order by id desc
         limit $5 offset $6) as partners
  left join links on links.partner_id = partners.id
 group by partners.id, partners.public_id, partners.code, partners.name, partners.email, partners.image,
          partners.created_at
 order by partners.id desc

-- domain: a workspace's oldest domain
select domain from domains where workspace_id = $1 order by created_at, domain limit 1

-- events: a page of a program's events of a kind and a time, with how many there are, up to ten thousand
with found as materialized (
    select events.id, kind::text, at, events.link_id, click_id, attributed_id, customer_id, amount, currency, events.name
      from events join programs on programs.id = events.program_id
     where programs.number = $2 and programs.workspace_id = $1 and not is_test
       and kind::text = any($3::text[])
       and at >= $4::timestamptz and at < $5::timestamptz
     order by events.at desc, events.id desc
     limit 10000
)
select found.id, kind, found.at, links.code, coalesce(attributed_id, click_id) as click_id, customers.external_id as customer,
       amount, currency, found.name, total
  from (select *, count(*) over () as total from found order by at desc, id desc limit $6 offset $7) as found
  left join links on links.id = found.link_id
  left join customers on customers.id = found.customer_id
 order by found.at desc, found.id desc
