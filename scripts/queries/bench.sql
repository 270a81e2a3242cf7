-- forget: every event, and what was learnt of them
truncate events, claims, event_aliases, repeats, quarantine, customers,
         stream_epochs, ledger, link_days, link_amounts, program_partner_amounts, counter_base

-- zero_links: what was counted of them, back to nothing
update links
   set clicks = 0, bot_clicks = 0, duplicate_clicks = 0, leads = 0, sales = 0, last_clicked_at = null

-- zero_partners: the same per partner of a program
update program_partners
   set clicks = 0, bot_clicks = 0, duplicate_clicks = 0, leads = 0, sales = 0

-- tidy: take away what the last run left in the tables that it updated
vacuum links, program_partners

-- settle: write everything out now, so that no run pays for the one before
checkpoint

-- events: all of them, as they came
select * from events order by entry_ms, entry_seq, shard

-- customers: all of them
select * from customers

-- count: how many events are recorded
select count(*) from events

-- rival_links: what a rival reads when it starts
select code, id, workspace_id, program_id, partner_id from links

-- rival_event: the row of a click
insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity,
                    epoch, shard, entry_seq, entry_ms, workspace_id, link_id, program_id, partner_id,
                    dialect, page_url, properties, country, device, os, browser, referrer_host)
values ($1, $2, 0, 'click', false, $9, false, 1,
        0, 0, 0, 0, $3, $4, $5, $6,
        'affitor', $7, $8, $10, $11, $12, $13, $14)

-- rival_customer: who clicked, if new
insert into customers (id, workspace_id, seen_at) values ($1, $2, $3)
on conflict (id) do update set seen_at = least(customers.seen_at, excluded.seen_at)

-- rival_count: one click more
update links set clicks = clicks + 1, last_clicked_at = greatest(last_clicked_at, $2) where id = $1

-- clicks: how many are counted
select coalesce(sum(clicks), 0)::bigint from links
