-- keys_that_generate: the workspaces of live API keys that may track
select key_hash, workspace_id
  from api_keys
 where key_hash = any($1::bytea[]) and revoked_at is null and scopes && array['track', '*']

-- generated_find: what exists of links that edges generated: who has or had the code, whether it is this partner's in this program, whether the event is earlier than the link, the oldest link that the partner has in the program
select wanted.place, holder.id as holder_id,
       coalesce((holder.program_id, holder.partner_id) = (program.id, partner.id), false) as is_own,
       coalesce((live.program_id, live.partner_id) = (program.id, partner.id)
                and wanted.at < live.created_at, false) as is_earlier,
       oldest.id as oldest_id, program.has_stats,
       holder.id is not null and program.has_stats
           and not coalesce((live.program_id, live.partner_id) = (program.id, partner.id)
                            and wanted.at < live.created_at, false) as is_made
  from unnest($1::timestamptz[], $2::text[], $3::text[], $4::uuid[], $5::uuid[]) with ordinality
    as wanted (at, code, partner_code, program_id, workspace_id, place)
  join programs program on program.id = wanted.program_id and program.workspace_id = wanted.workspace_id
  left join partners partner on partner.workspace_id = program.workspace_id and partner.code = wanted.partner_code
  left join links live on live.namespace = '-' and live.code = wanted.code
  left join link_aliases alias on alias.namespace = '-' and alias.code = wanted.code
  left join links holder on holder.id = coalesce(live.id, alias.link_id)
  left join lateral (
        select id from links
         where partner_id = partner.id and program_id = program.id
         order by created_at, id
         limit 1
       ) as oldest on true
 order by wanted.place

-- codes_lock: block other changes of codes until this transaction ends
select pg_advisory_xact_lock(hashtext('reftide codes'))

-- generated_since: date links back to the earliest event that names them
with change as (
    select * from unnest($1::uuid[], $2::timestamptz[]) as change (id, at)
), locked as materialized (
    select id from links where id = any($1) order by id for no key update
)
update links
   set created_at = least(links.created_at, change.at)
  from locked join change using (id)
 where links.id = locked.id

-- partners_enlist: create partners by their codes; known ones are left alone
insert into partners (id, public_id, workspace_id, code)
select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[])
    as partner (id, public_id, workspace_id, code)
 order by workspace_id, code
on conflict do nothing

-- generated_add: create links and enrol their partners
with made as (
    insert into links (id, workspace_id, public_id, namespace, code, url, program_id, partner_id, created_at)
    select wanted.id, program.workspace_id, wanted.public_id, '-', wanted.code, program.url, program.id, partner.id, wanted.at
      from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::uuid[], $7::uuid[])
        as wanted (id, public_id, at, code, partner_code, program_id, workspace_id)
      join programs program on program.id = wanted.program_id
      join partners partner on partner.workspace_id = program.workspace_id and partner.code = wanted.partner_code
     order by wanted.code
    on conflict do nothing
    returning program_id, partner_id
)
insert into program_partners (program_id, partner_id)
select program_id, partner_id from made order by program_id, partner_id
on conflict do nothing

-- generated_alias: create aliases of existing links
insert into link_aliases (namespace, code, link_id)
select '-', code, link_id from unnest($1::text[], $2::uuid[]) as alias (code, link_id)
 order by code
on conflict do nothing

-- programs_with_stats: turn on the publication of partners' stats
with locked as materialized (
    select id from programs where id = any($1::uuid[]) order by id for no key update
)
update programs set has_stats = true from locked where programs.id = locked.id and not programs.has_stats
