-- budget_count: the open entries that clients caused, by workspace
select workspace_id, count(*) as kept
  from quarantine
 where status = 'open'
   and reason in ('unknown_link', 'inactive_link', 'unknown_program', 'unknown_click', 'expired', 'unauthorised')
 group by workspace_id

-- budget_expire: discard the next entries that were last tried so long ago; how many
with old as (
    select id, reason, detail, attempts
      from quarantine
     where status = 'open' and redrive_at is null and last_seen < now() - $1::interval
       and reason in ('unknown_link', 'inactive_link', 'unknown_program', 'unknown_click', 'expired', 'unauthorised')
     order by id
     limit $3
       for update skip locked
), told as (
    insert into quarantine_history (quarantine_id, who, action, note, before)
    select id, $2, 'discarded', 'nobody put it back in time',
           jsonb_build_object('reason', reason, 'detail', detail, 'attempts', attempts)
      from old order by id
), given_up as (
    update quarantine
       set status = 'discarded', payload = '', waits_for = '{}', look_at = null, tries = 0
      from old where quarantine.id = old.id
)
select count(*) from old
