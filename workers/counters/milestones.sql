-- awards_give: award milestones that partners have reached; each once
insert into awards (milestone_id, partner_id, event_id)
select milestone.id, led.partner_id, led.event_id
  from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as led (program_id, partner_id, event_id)
  join milestones milestone on milestone.program_id = led.program_id
  join program_partners total on total.program_id = led.program_id and total.partner_id = led.partner_id
 where milestone.converts <= total.leads
 order by milestone.id, led.partner_id
on conflict do nothing
