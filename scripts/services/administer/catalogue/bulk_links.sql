-- one_writer: nobody else gives out or takes back codes until this transaction ends
select pg_advisory_xact_lock(hashtext('reftide codes'))

-- resolve: what the links name: themselves, programs, partners, domains; and to which link their code leads
select asked.place, known.id as link_id, coalesce(known.public_id, asked.public_id) as public_id,
       known.code as former_code, known.namespace as former_namespace,
       coalesce(asked.domain, known.domain, '') as domain,
       case when asked.domain is null and known.id is not null then known.namespace else asked.namespace end as namespace,
       programs.id as program_id, programs.url as program_url, partners.id as partner_id,
       domains.schemes, holder.id as holder,
       known.id is null and asked.public_id is not null
       and (exists (select from links where public_id = asked.public_id or namespace = '-' and code = asked.public_id)
            or exists (select from link_aliases where namespace = '-' and code = asked.public_id)) as is_taken
  from jsonb_to_recordset($2::text::jsonb)
           as asked (place integer, external_id text, public_id text, namespace text, code text, domain text,
                     program bigint, partner text)
  left join links as known on known.workspace_id = $1 and known.external_id = asked.external_id
  left join programs on programs.number = asked.program and programs.workspace_id = $1
  left join lateral (select id from partners
                      where workspace_id = $1 and (code = asked.partner or public_id = asked.partner)
                      order by code = asked.partner desc limit 1) as partners on true
  left join domains on domains.domain = coalesce(asked.domain, known.domain) and domains.workspace_id = $1
  left join lateral (
        select id from links
         where namespace = case when asked.domain is null and known.id is not null then known.namespace else asked.namespace end
           and code = asked.code
        union all
        select link_id from link_aliases
         where namespace = case when asked.domain is null and known.id is not null then known.namespace else asked.namespace end
           and code = asked.code
        union all
        select id from links
         where public_id = asked.code
           and case when asked.domain is null and known.id is not null then known.namespace else asked.namespace end = '-'
         limit 1
       ) as holder on true
 order by asked.place

-- insert: new links
insert into links (id, workspace_id, public_id, external_id, namespace, code, domain, url, program_id, partner_id,
                   is_active, expires_at, fallback_url, click_param, discount)
select link_id, $1, public_id, external_id, namespace, code, domain, url, program_id, partner_id,
       not coalesce(inactive, false), nullif(expires_at::timestamptz, 'infinity'), nullif(fallback_url, ''),
       nullif(click_param, ''), nullif(discount::jsonb, 'null')
  from jsonb_to_recordset($2::text::jsonb)
           as asked (link_id uuid, public_id text, external_id text, namespace text, code text, domain text, url text,
                     program_id uuid, partner_id uuid, inactive boolean, expires_at text, fallback_url text,
                     click_param text, discount text)
 order by link_id

-- change: change what is said and differs
with wanted as materialized (
    select links.id, coalesce(asked.url, links.url) as url,
           coalesce(asked.program_id, links.program_id) as program_id,
           coalesce(asked.partner_id, links.partner_id) as partner_id,
           coalesce(not asked.inactive, links.is_active) as is_active,
           nullif(coalesce(asked.expires_at::timestamptz, links.expires_at), 'infinity') as expires_at,
           nullif(coalesce(asked.fallback_url, links.fallback_url), '') as fallback_url,
           nullif(coalesce(asked.click_param, links.click_param), '') as click_param,
           nullif(coalesce(asked.discount::jsonb, links.discount), 'null') as discount
      from jsonb_to_recordset($1::text::jsonb)
               as asked (link_id uuid, url text, program_id uuid, partner_id uuid, inactive boolean, expires_at text,
                         fallback_url text, click_param text, discount text)
      join links on links.id = asked.link_id
     order by links.id
       for no key update of links
)
update links
   set url = wanted.url, program_id = wanted.program_id, partner_id = wanted.partner_id,
       is_active = wanted.is_active, expires_at = wanted.expires_at, fallback_url = wanted.fallback_url,
       click_param = wanted.click_param, discount = wanted.discount
  from wanted
 where links.id = wanted.id
   and (links.url, links.program_id, links.partner_id, links.is_active, links.expires_at, links.fallback_url,
        links.click_param, links.discount)
       is distinct from
       (wanted.url, wanted.program_id, wanted.partner_id, wanted.is_active, wanted.expires_at, wanted.fallback_url,
        wanted.click_param, wanted.discount)
returning links.id

-- enrol: the partners' rows in the programs, where their counters are
insert into program_partners (program_id, partner_id)
select distinct program_id, partner_id from links
 where id = any($1::uuid[]) and program_id is not null and partner_id is not null
 order by program_id, partner_id
on conflict do nothing

-- small: one more code of links whose domain does not tell letters apart, where it is free
insert into link_aliases (namespace, code, link_id)
select links.namespace, lower(links.code), links.id
  from links join domains on links.namespace = 'd:' || domains.domain and not domains.is_case_sensitive
 where links.id = any($1::uuid[]) and links.code <> lower(links.code)
   and not exists (select from links as other where other.namespace = links.namespace and other.code = lower(links.code))
 order by links.id
on conflict do nothing
