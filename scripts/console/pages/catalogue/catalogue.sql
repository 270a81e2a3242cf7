-- links: of these workspaces, a text or codes of a URL, a partner, a program, on or off; newest first, after one
select links.code, links.domain, links.public_id, links.url, is_active, expires_at, links.id,
       number as program, partners.code as partner, partners.public_id as partner_id, workspaces.name as workspace,
       unique_clicks, leads, sales, last_clicked_at
  from links
  join workspaces on workspaces.id = links.workspace_id
  left join programs on programs.id = program_id
  left join partners on partners.id = partner_id
 where ($1::uuid[] is null or links.workspace_id = any ($1))
   and ($2::text is null
        or $2 in (links.public_id, links.external_id) or links.code = any ($3::text[])
        -- ASCII needs no rules of a language, which take most of the time.
        or case when octet_length($2) = length($2)
                then strpos(lower(concat_ws(' ', links.code, links.domain, links.url) collate "C"), lower($2 collate "C"))
                else strpos(lower(concat_ws(' ', links.code, links.domain, links.url)), lower($2)) end > 0
        or links.partner_id in (select id from partners
                                 where $2 = public_id or strpos(lower(concat_ws(' ', code, name)), lower($2)) > 0)
        or links.id in (select link_id from link_aliases as alias
                         where alias.code = any ($3) or strpos(lower(alias.code), lower($2)) > 0))
   and ($4::text is null or links.partner_id = (select id from partners where public_id = $4))
   and ($5::bigint is null or number = $5)
   and ($6::boolean is null or is_active = $6)
   and ($7::uuid is null or links.id < $7)
 order by links.id desc
 limit $8

-- partners: of these workspaces, by a text; with what they brought, newest first, after one
select partners.code, partners.public_id, partners.name, partners.id, workspaces.name as workspace,
       (select count(*) from links where partner_id = partners.id) as links, sums.*
  from partners
  join workspaces on workspaces.id = workspace_id
 cross join lateral (
        select coalesce(sum(unique_clicks), 0)::bigint as unique_clicks, coalesce(sum(leads), 0)::bigint as leads,
               coalesce(sum(sales), 0)::bigint as sales
          from program_partners where partner_id = partners.id) as sums
 where ($1::uuid[] is null or workspace_id = any ($1))
   and ($2::text is null or $2 = partners.public_id or strpos(lower(concat_ws(' ', code, partners.name)), lower($2)) > 0
        or $3 and lower(email) = lower($2))
   and ($4::uuid is null or partners.id < $4)
 order by partners.id desc
 limit $5

-- programs: of these workspaces, by a text; with what they brought, newest first, after one
select programs.number, programs.name, programs.id, programs.url, workspaces.name as workspace,
       (select count(*) from links where program_id = programs.id) as links, sums.*
  from programs
  join workspaces on workspaces.id = workspace_id
 cross join lateral (
        select coalesce(sum(unique_clicks), 0)::bigint as unique_clicks, coalesce(sum(leads), 0)::bigint as leads,
               coalesce(sum(sales), 0)::bigint as sales
          from program_partners where program_id = programs.id) as sums
 where ($1::uuid[] is null or workspace_id = any ($1))
   and ($2::text is null or strpos(lower(concat_ws(' ', programs.number, programs.name, programs.url)), lower($2)) > 0)
   and ($3::uuid is null or programs.id < $3)
 order by programs.id desc
 limit $4

-- moves: of whom a link was before, and until when, the latest first
select until, programs.number as program, partners.code as partner, partners.public_id as partner_id
  from link_moves
  left join programs on programs.id = program_id
  left join partners on partners.id = partner_id
 where link_id = $1
 order by until desc
 limit 50

-- trail: of the latest acts in a workspace those on something, by a word and its name
select at, who, what, state, arguments::text, result::text
  from (select * from operations where workspace_id = $1 order by id desc limit 5000) as latest
 where arguments ->> $2 = $3 or what like '%/' || $2 || 's/' || $3
 order by id desc
 limit 20

-- choices: programs and domains of workspaces, to choose from
select 'program' as kind, number::text as value, name as label
  from programs where $1::uuid[] is null or workspace_id = any ($1)
 union all
select 'domain', domain, domain from domains where $1::uuid[] is null or workspace_id = any ($1)
 union all
(select 'partner', code, name from partners where $1::uuid[] is null or workspace_id = any ($1) order by id desc limit 200)
 order by 1, 2
 limit 1000

-- partner_of: the public id of a link's partner
select public_id from partners where id = $1
