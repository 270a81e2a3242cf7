-- tokens_keep: store short click ids with their clicks; a known one stays as it is
insert into imported_clicks (workspace_id, token, click_id, link_id)
select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[])
    as click (workspace_id, token, click_id, link_id)
 order by workspace_id, token, click_id
on conflict do nothing
