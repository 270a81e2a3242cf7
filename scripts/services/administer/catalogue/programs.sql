-- list: programs, all or one workspace's
select number, programs.name, workspaces.name as workspace, url, fallback_url, model::text,
       cookie_window_days, attribution_window_days, needs_server_lead, has_stats,
       programs.id, programs.created_at
  from programs join workspaces on workspaces.id = workspace_id
 where ($1::uuid is null or workspace_id = $1) and ($2::bigint is null or number > $2)
 order by number

-- numbered: one program by its public number
select programs.id, number, workspace_id, programs.name, workspaces.name as workspace, url, fallback_url,
       model::text, cookie_window_days, attribution_window_days, needs_server_lead, has_stats,
       programs.created_at
  from programs join workspaces on workspaces.id = workspace_id
 where number = $1

-- enrolments: a program's partners with their counters, the busiest first
select partners.code as partner, partners.public_id as partner_id, {counters},
       (select coalesce(array_agg(currency || ' ' || amount order by currency), '{}')
          from program_partner_amounts as worth
         where (worth.program_id, worth.partner_id) = (program_partners.program_id, program_partners.partner_id)) as amounts
  from program_partners join partners on partners.id = partner_id
 where program_id = $1
 order by unique_clicks desc, clicks desc, partners.code
 limit 100

-- add: a new program; no row where its name or number is taken
insert into programs (id, number, workspace_id, name, url, model,
                      cookie_window_days, attribution_window_days)
values ($1, coalesce($2::bigint, nextval(pg_get_serial_sequence('programs', 'number'))),
        $3, $4, '', 'last_click', $5, $5)
on conflict do nothing
returning number

-- pass: let the sequence of numbers go past the numbers that were chosen by hand
select setval(pg_get_serial_sequence('programs', 'number'),
              greatest((select max(number) from programs),
                       (select last_value from programs_number_seq)))

-- set: change what is given, keep what is null
update programs
   set name = coalesce($2, name),
       url = coalesce($3, url),
       model = coalesce($4::text::attribution_model, model),
       cookie_window_days = coalesce($5, cookie_window_days),
       attribution_window_days = coalesce($6, attribution_window_days),
       needs_server_lead = coalesce($7, needs_server_lead),
       has_stats = coalesce($8, has_stats),
       fallback_url = nullif(coalesce($9, fallback_url), '')
 where id = $1
