-- owners: whose an event is, recorded, as a repeat of another, or in quarantine
select workspace_id from events where id = $1
 union
select workspace_id from event_aliases join events on events.id = event_id where event_aliases.id = $1
 union
select workspace_id from quarantine where event_id = $1

-- about: what the page of an event links to, and what its row has besides
select links.public_id as link_id, partners.public_id as partner_id, session, customers.external_id
  from events
  left join links on links.id = link_id
  left join partners on partners.id = events.partner_id
  left join customers on customers.id = customer_id
 where events.id = $1

-- neighbours: the latest events of the same session on the same link
select others.id, others.at, others.kind::text, others.name
  from events
  join events others on others.link_id = events.link_id and others.session = events.session
 where events.id = $1
 order by others.at desc, others.id desc
 limit 20
