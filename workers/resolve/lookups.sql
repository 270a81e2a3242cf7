-- links_by_id: links, and for how many days their clicks earn, if a program says so
select link.id as link_id, link.workspace_id, link.program_id, link.partner_id, link.is_active,
       program.attribution_window_days
  from links link
  left join programs program on program.id = link.program_id
 where link.id = any($1::uuid[])

-- links_by_code: links by their codes, former ones too
select named.namespace, named.code,
       link.id as link_id, link.workspace_id, link.program_id, link.partner_id, link.is_active,
       program.attribution_window_days
  from unnest($1::text[], $2::text[]) as named (namespace, code)
  left join links live on (live.namespace, live.code) = (named.namespace, named.code)
  left join link_aliases alias on (alias.namespace, alias.code) = (named.namespace, named.code)
  join links link on link.id = coalesce(live.id, alias.link_id)
  left join programs program on program.id = link.program_id

-- domains_known: which of these domains have codes of their own
select domain from domains where domain = any($1::text[])

-- keys_by_hash: API keys that are alive
select id, workspace_id, key_hash, scopes
  from api_keys
 where key_hash = any($1::bytea[]) and revoked_at is null

-- programs_by_number: programs by their public numbers
select id, number, workspace_id from programs where number = any($1::bigint[])

-- clicks_by_token: clicks that another vendor issued
select click.workspace_id, click.token, click.click_id,
       link.id as link_id, link.program_id, link.partner_id, link.is_active,
       program.attribution_window_days
  from imported_clicks click
  join links link on link.id = click.link_id
  left join programs program on program.id = link.program_id
 where (click.workspace_id, click.token) in (select * from unnest($1::uuid[], $2::text[]))

-- clicks_by_own_id: of the keys of ids that clients gave their clicks, those that recorded clicks have
select claim.workspace_id, claim.key
  from claims claim
  join events click on click.id = claim.event_id and click.kind = 'click' and not click.is_test
 where claim.scope = 'tracker' and (claim.workspace_id, claim.key) in (select * from unnest($1::uuid[], $2::bytea[]))

-- clicks_recorded: the links of recorded clicks, by ids that a lost claim left behind too
select named.id as click_id,
       link.id as link_id, link.workspace_id, link.program_id, link.partner_id, link.is_active,
       program.attribution_window_days
  from unnest($1::uuid[]) as named (id)
  left join event_aliases alias on alias.id = named.id
  join events click on click.id = coalesce(alias.event_id, named.id) and click.kind = 'click' and not click.is_test
  join links link on link.id = click.link_id
  left join programs program on program.id = link.program_id
