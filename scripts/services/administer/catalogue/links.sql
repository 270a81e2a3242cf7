-- list: links, all or by workspace, program or partner, newest first
select links.code, links.namespace, links.domain, links.public_id, external_id, links.url, number as program,
       partners.code as partner, is_active, unique_clicks, clicks, leads, sales,
       workspaces.name as workspace, links.id, links.created_at, expires_at, links.fallback_url, last_clicked_at
  from links
  join workspaces on workspaces.id = links.workspace_id
  left join programs on programs.id = program_id
  left join partners on partners.id = partner_id
 where ($1::uuid is null or links.workspace_id = $1)
   and ($2::bigint is null or number = $2)
   and ($3::text is null or partners.code = $3)
   and ($5::uuid is null or links.id < $5)
 order by links.id desc
 limit $4

-- named: one link by its namespace and code, by a former code, or by its public id
{_link}
 where links.id in (
        select id from links where namespace = $1 and code = $2
        union
        select link_id from link_aliases where namespace = $1 and code = $2
        union
        select id from links where public_id = $2)
 order by (links.namespace = $1 and links.code = $2) desc
 limit 1

-- row: one link by the id of its row
{_link}
 where links.id = $1

-- _link: what is told of one link
select links.id, links.workspace_id, links.public_id, links.namespace, links.code,
       links.domain, links.url, program_id, partner_id, is_active, external_id,
       number as program, partners.code as partner, workspaces.name as workspace,
       {counters}, last_clicked_at,
       links.created_at, expires_at, links.fallback_url, click_param, discount::text,
       (select coalesce(array_agg(currency || ' ' || amount order by currency), '{}')
          from link_amounts where link_id = links.id) as amounts,
       (select coalesce(array_agg(code order by code), '{}')
          from link_aliases where link_id = links.id) as former_codes
  from links
  join workspaces on workspaces.id = links.workspace_id
  left join programs on programs.id = program_id
  left join partners on partners.id = partner_id

-- own: links by a code, present or former, that is unique in their workspaces only
select links.public_id
  from links
 where id in (
        select links.id from workspaces join links on namespace = 'w:' || replace(workspaces.id::text, '-', '')
         where code = $1
        union
        select link_id from workspaces join link_aliases on namespace = 'w:' || replace(workspaces.id::text, '-', '')
         where code = $1)
 limit 2

-- holder: the link that a code of a namespace leads to, now or formerly; without a domain, public ids are codes too
select public_id from links where namespace = $1 and code = $2
union all
select public_id from link_aliases join links on links.id = link_id
 where link_aliases.namespace = $1 and link_aliases.code = $2
union all
select public_id from links where $1 = '-' and public_id = $2
 limit 1

-- one_writer: nobody else gives out or takes back codes until this transaction ends
select pg_advisory_xact_lock(hashtext('reftide codes'))

-- add: a new link; no row where its code or public id is taken
insert into links (id, workspace_id, public_id, namespace, code, domain, url,
                   program_id, partner_id, is_active)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict do nothing
returning id

-- enrol: the partner's row in the program, where its counters are
insert into program_partners (program_id, partner_id) values ($1, $2)
on conflict do nothing

-- counted: how many events count for a link, and a day before all of them: a client's clock may be ahead of an edge's
select coalesce(sum(clicks + leads + sales), 0)::bigint as events, min(day) - 1 as first
  from link_days where link_id = $1 and clicks + leads + sales > 0

-- set: change what is given, keep what is null
update links
   set url = coalesce($2, url),
       program_id = coalesce($3, program_id),
       partner_id = coalesce($4, partner_id)
 where id = $1
returning program_id, partner_id

-- lead: change what redirects ask, keep what is null; 'infinity' and the empty text clear it
update links
   set expires_at = nullif(coalesce($2::text::timestamptz, expires_at), 'infinity'),
       fallback_url = nullif(coalesce($3, fallback_url), ''),
       click_param = nullif(coalesce($4, click_param), '')
 where id = $1

-- external: the id that another system gives it, if it is given
update links set external_id = $2 where id = $1 and $2::text is not null

-- discount: what customers save; 'null' for nothing
update links set discount = nullif($2::text::jsonb, 'null') where id = $1

-- in_small_letters: one more code of a link whose domain does not tell letters apart, if it is free
insert into link_aliases (namespace, code, link_id)
select links.namespace, lower(links.code), links.id
  from links join domains on links.namespace = 'd:' || domains.domain and not domains.is_case_sensitive
 where links.id = $1 and links.code <> lower(links.code)
   and not exists (select from links as other where other.namespace = links.namespace and other.code = lower(links.code))
on conflict do nothing

-- switch: on or off
update links set is_active = $2 where id = $1

-- rename: a new code
update links set code = $2 where id = $1

-- alias: one more code of a link
insert into link_aliases (namespace, code, link_id) values ($1, $2, $3)

-- unalias: take such a code away
delete from link_aliases where namespace = $1 and code = $2 and link_id = $3
returning namespace, code as alias, link_id

-- aliased: the aliases with a code, by namespace and by their link's code, public id or row
select link_aliases.namespace, link_id
  from link_aliases
  join links on links.id = link_id
 where link_aliases.code = $1
   and ($2::text is null or link_aliases.namespace = $2)
   and ($3::text is null or $3 in (links.code, public_id))
   and ($4::uuid is null or link_id = $4)
 limit 2

-- aliases: aliases, all or by workspace and link, newest first
select link_aliases.code as alias, link_aliases.namespace,
       case when link_aliases.namespace like 'd:%' then substr(link_aliases.namespace, 3) end as domain,
       links.code, public_id, workspaces.name as workspace, link_aliases.created_at
  from link_aliases
  join links on links.id = link_id
  join workspaces on workspaces.id = workspace_id
 where ($1::uuid is null or workspace_id = $1)
   and ($2::text is null or $2 in (links.code, public_id))
 order by link_aliases.created_at desc, link_aliases.code
 limit $3
