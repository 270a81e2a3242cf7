-- partners: make partners, or change what is said and differs; what became of the first line of each code
with asked as materialized (
    select distinct on (code) *
      from jsonb_to_recordset($2::text::jsonb)
               as asked (place integer, id uuid, code text, name text, email text, image text, public_id text,
                         new_public_id text)
     order by code, place
), known as materialized (
    select asked.*, partners.id as known_id, partners.public_id as known_public_id, other.id as other_id
      from asked
      left join partners on partners.workspace_id = $1 and partners.code = asked.code
      left join partners as other
        on other.public_id = asked.public_id and other.id is distinct from partners.id
), made as (
    insert into partners (id, workspace_id, public_id, code, name, email, image)
    select id, $1, new_public_id, code, coalesce(name, ''), email, image
      from known where known_id is null and other_id is null
     order by code
    on conflict do nothing
    returning code
), changed as (
    update partners
       set name = coalesce(known.name, partners.name), email = coalesce(known.email, partners.email),
           image = coalesce(known.image, partners.image)
      from known
     where partners.id = known.known_id and other_id is null
       and (partners.name, partners.email, partners.image)
           is distinct from (coalesce(known.name, partners.name), coalesce(known.email, partners.email),
                             coalesce(known.image, partners.image))
    returning partners.code
)
select place, coalesce(known_public_id, new_public_id) as public_id,
       case when made.code is not null then 'created' when changed.code is not null then 'changed'
            else 'unchanged' end as status,
       case when other_id is not null or (known_id is null and made.code is null)
            then 'another partner has this public id' end as error
  from known left join made using (code) left join changed using (code)

-- clicks: keep click ids that nobody knows; what became of the first line of each
with asked as materialized (
    select distinct on (click_id) *
      from jsonb_to_recordset($2::text::jsonb) as asked (place integer, id uuid, click_id text, link text, domain text)
     order by click_id, place
), known as materialized (
    select asked.*, target.id as link_id
      from asked
      left join lateral (
            select id from links
             where workspace_id = $1 and code = asked.link
               and namespace = coalesce('d:' || asked.domain, '-')
            union all
            select links.id from link_aliases join links on links.id = link_id
             where links.workspace_id = $1 and link_aliases.code = asked.link
               and link_aliases.namespace = coalesce('d:' || asked.domain, '-')
            union all
            select id from links where workspace_id = $1 and public_id = asked.link
             limit 1) as target on true
), made as (
    insert into imported_clicks (workspace_id, token, click_id, link_id)
    select $1, click_id, id, link_id from known where link_id is not null
     order by click_id
    on conflict do nothing
    returning token
)
select place, link_id, case when token is null then 'unchanged' else 'created' end as status,
       case when link_id is null then 'the workspace has no such link' end as error
  from known left join made on token = known.click_id
