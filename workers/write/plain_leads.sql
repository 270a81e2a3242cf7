-- visitors_unnamed: of visitors by their clicks ($1) in workspaces ($2), those whom no lead has named yet and whose click has no other id
select visitor.id
  from unnest($1::uuid[], $2::uuid[]) as asked (id, workspace_id)
 cross join lateral (
        select id, workspace_id, external_id, points_to from customers where id = asked.id offset 0) as visitor
 where visitor.workspace_id = asked.workspace_id and visitor.external_id is null and visitor.points_to is null
   and asked.id >= (select events_floor())
   and not exists (select from event_aliases where id = asked.id offset 0)
   and not exists (select from event_aliases where event_id = asked.id offset 0)
   -- In the order of an index, so that no other one is read.
   and (select id from events
         where click_id = asked.id and kind <> 'click'
         order by (api_key_id is null)::int, at, id
         limit 1) is null
