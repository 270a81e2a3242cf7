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
