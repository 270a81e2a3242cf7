-- list: milestones and how many partners have earned them, all or by workspace or program, after one
select number as program, milestones.name, converts,
       (select count(*) from awards where milestone_id = milestones.id) as awards,
       workspaces.name as workspace, milestones.id, milestones.created_at
  from milestones
  join programs on programs.id = program_id
  join workspaces on workspaces.id = programs.workspace_id
 where ($1::uuid is null or programs.workspace_id = $1)
   and ($2::bigint is null or number = $2)
   and ($4::uuid is null
        or (number, converts, milestones.name) > (select former.number, last.converts, last.name
                                                    from milestones as last
                                                    join programs as former on former.id = last.program_id
                                                   where last.id = $4))
 order by number, converts, milestones.name
 limit $3

-- add: a new milestone; no row where the program has one of that name
insert into milestones (id, program_id, name, converts) values ($1, $2, $3, $4)
on conflict do nothing
returning id

-- made: one milestone
select number as program, milestones.name, converts, 0 as awards,
       workspaces.name as workspace, milestones.id, milestones.created_at
  from milestones
  join programs on programs.id = program_id
  join workspaces on workspaces.id = programs.workspace_id
 where milestones.id = $1

-- awards: who earned what, the latest first
select number as program, milestones.name as milestone, converts, partners.code as partner,
       event_id, awarded_at
  from awards
  join milestones on milestones.id = milestone_id
  join programs on programs.id = program_id
  join partners on partners.id = partner_id
 where ($1::uuid is null or programs.workspace_id = $1)
   and ($2::bigint is null or number = $2)
   and ($3::text is null or partners.code = $3)
 order by awarded_at desc, partners.code, converts
 limit $4
