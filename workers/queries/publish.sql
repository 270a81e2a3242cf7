-- publish_lock: whether we are the one publisher, until the end of the transaction
select pg_try_advisory_xact_lock(hashtext('reftide publish'))

-- changes_next: the oldest changes that are not yet published
select seq, topic, ref from directory_changes order by seq limit $1

-- changes_done: these are published
delete from directory_changes where seq = any($1::bigint[])

-- now_ms: Unix milliseconds
select (extract(epoch from clock_timestamp()) * 1000)::bigint

-- links_by_id: links as edges see them
select links.id, links.workspace_id, links.public_id, links.namespace, links.code, links.domain, links.url, links.is_active,
       links.program_id, programs.number as program_number,
       links.partner_id, partners.code as partner_code,
       programs.cookie_window_days, programs.attribution_window_days
  from links
  left join programs on programs.id = links.program_id
  left join partners on partners.id = links.partner_id
 where links.id = any($1::uuid[])

-- aliases_of_links: the former codes of some links; one that a link has again is that link's
select namespace, code, link_id from link_aliases
 where link_id = any($1::uuid[])
   and not exists (select from links
                    where links.namespace = link_aliases.namespace and links.code = link_aliases.code)

-- codes_find: whose these codes are; a link's own code goes before another's former one
select distinct on (namespace, code) namespace, code, link_id
  from (select namespace, code, id as link_id, 0 as place from links
         where (namespace, code) in (select * from unnest($1::text[], $2::text[]))
        union all
        select namespace, code, link_id, 1 from link_aliases
         where (namespace, code) in (select * from unnest($1::text[], $2::text[]))) as named
 order by namespace, code, place

-- domains_find: domains that have a namespace of their own
select domain, workspace_id from domains where domain = any($1::text[])

-- programs_find: programs as edges see them
select id, workspace_id, number, cookie_window_days from programs where id = any($1::uuid[])

-- keys_find: those of the keys that are alive
select id, workspace_id, key_hash, scopes from api_keys where key_hash = any($1::bytea[]) and revoked_at is null

-- clicks_find: imported click ids
select workspace_id, token, click_id, link_id from imported_clicks
 where (workspace_id, token) in (select * from unnest($1::uuid[], $2::text[]))

-- links_of_program: whose records change with a program
select id from links where program_id = $1

-- links_all: every link
select id from links

-- aliases_all: every former code; one that a link has again is that link's
select namespace, code, link_id from link_aliases
 where not exists (select from links
                    where links.namespace = link_aliases.namespace and links.code = link_aliases.code)

-- domains_all: every domain
select domain from domains

-- programs_all: every program
select id from programs

-- keys_all: every key that is alive
select key_hash from api_keys where revoked_at is null

-- clicks_all: every imported click id
select workspace_id, token from imported_clicks
