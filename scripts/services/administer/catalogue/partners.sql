-- list: partners, all or one workspace's, newest first
select code, public_id, partners.name, email, workspaces.name as workspace,
       (select count(*) from links where partner_id = partners.id) as links,
       partners.id, partners.created_at
  from partners join workspaces on workspaces.id = workspace_id
 where ($1::uuid is null or workspace_id = $1) and ($3::uuid is null or partners.id < $3)
 order by partners.id desc
 limit $2

-- called: partners by code or public id, in all workspaces or one
{_partner}
 where (code = $1 or public_id = $1) and ($2::uuid is null or workspace_id = $2)
 limit 2

-- row: one partner by the id of its row
{_partner}
 where partners.id = $1

-- _partner: what is told of one partner
select partners.id, workspace_id, code, public_id, partners.name, email, image,
       workspaces.name as workspace, partners.created_at
  from partners join workspaces on workspaces.id = workspace_id

-- enrolments: a partner's programs with its counters
select number as program, programs.name, {counters},
       (select coalesce(array_agg(currency || ' ' || amount order by currency), '{}')
          from program_partner_amounts as worth
         where (worth.program_id, worth.partner_id) = (program_partners.program_id, program_partners.partner_id)) as amounts
  from program_partners join programs on programs.id = program_id
 where partner_id = $1
 order by number

-- add: a new partner; no row where its code or public id is taken
insert into partners (id, workspace_id, public_id, code, name, email, image)
values ($1, $2, $3, $4, $5, $6, nullif($7, ''))
on conflict do nothing
returning id

-- set: change what is given, keep what is null
update partners
   set code = coalesce($2, code), name = coalesce($3, name), email = coalesce($4, email),
       image = nullif(coalesce($5, image), '')
 where id = $1
