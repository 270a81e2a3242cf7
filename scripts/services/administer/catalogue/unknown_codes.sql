-- unknown: the places of those among some codes that still lead nowhere on their host
select place
  from unnest($1::text[], $2::text[], $3::text[]) with ordinality as seen (host, own, code, place)
 where not exists (
        select from (select seen.own
                     union all
                     select namespace
                       from (values ('-') union all select 'w:' || replace(id::text, '-', '') from workspaces) as shared (namespace)
                      where not exists (select from domains where domain = seen.host)
                    ) as searched (namespace)
         where exists (select from links where (links.namespace, links.code) = (searched.namespace, seen.code))
            or exists (select from link_aliases alias where (alias.namespace, alias.code) = (searched.namespace, seen.code)))
 order by place

-- known: codes on some domains and on none, of the links that were clicked last
select namespace, code
  from links
 where is_active and (namespace not like 'd:%' or namespace = any($1::text[]))
 order by coalesce(last_clicked_at, created_at) desc
 limit $2
