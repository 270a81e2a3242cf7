-- terminate: end every session of Reftide but this one
select count(pg_terminate_backend(pid)) from pg_stat_activity
 where application_name = 'reftide' and pid <> pg_backend_pid()

-- recorded_table: what was recorded of a storm, by the mark that the client gave it; gone with the connection
create temporary table storm_recorded as
select id, dialect, kind,
       coalesce(case when kind = 'refund' then (properties ->> 'external_id') || ':refund' end,
                substring(page_url from 'storm=([^&#]+)'),
                properties ->> 'storm',
                properties -> 'metadata' ->> 'storm') as mark
  from events

-- quarantined_table: a place for the marks of what is in quarantine
create temporary table storm_quarantined (mark text not null, id uuid)

-- quarantined: what could not be recorded
select event_id, reason, payload from quarantine where status = 'open'

-- recorded: how many events bear a mark, and how many marks there are
select count(*) as rows, count(distinct mark) as marks
  from storm_recorded where mark is not null

-- lost: marks that were accepted, and are neither recorded nor in quarantine
select mark from unnest($1::text[]) as accepted (mark)
 where not exists (select from storm_recorded where storm_recorded.mark = accepted.mark)
   and not exists (select from storm_quarantined where storm_quarantined.mark = accepted.mark)
 order by mark

-- doubled: marks that several events bear
select mark, array_agg(id::text order by id) as events
  from storm_recorded
 where mark is not null
 group by mark
having count(*) > 1
 order by mark

-- astray: click ids that were answered and lead to no click, or to another one
select told.mark, told.id
  from unnest($1::text[], $2::uuid[]) as told (mark, id)
  left join event_aliases on event_aliases.id = told.id
 where not exists (select from storm_recorded
                    where storm_recorded.id = coalesce(event_aliases.event_id, told.id)
                      and storm_recorded.mark = told.mark)
   and not exists (select from storm_quarantined
                    where storm_quarantined.mark = told.mark)
 order by told.mark

-- gone: events of entries that a server lost, which are neither recorded nor in quarantine; by their marks, or ids without one
select distinct coalesce(mark, told.id::text) as mark
  from unnest($1::uuid[], $2::text[]) as told (id, mark)
  left join event_aliases on event_aliases.id = told.id
 where not exists (select from storm_recorded
                    where storm_recorded.id = coalesce(event_aliases.event_id, told.id))
   and not exists (select from storm_recorded where storm_recorded.mark = told.mark)
   and not exists (select from quarantine where quarantine.event_id = told.id)
   and not exists (select from storm_quarantined where storm_quarantined.mark = told.mark)

-- lock_losses: count losses as a worker does, and no worker meanwhile
select pg_advisory_xact_lock(hashtext('reftide job sample_epochs')), pg_advisory_xact_lock(hashtext('reftide job count_losses'))
