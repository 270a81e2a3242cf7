-- recorded: an event's row in words
select events.id, at, kind::text, is_test, is_bot, is_duplicate,
       is_unverified or kind <> 'click' and api_key_id is null as is_unverified, quantity, dialect, events.name,
       events.amount, events.currency::text,
       -- Nobody holds the claim of a sale that only refunds have named.
       (select sale.id from claims join events sale on sale.id = claims.event_id
         where (claims.workspace_id, claims.scope, claims.key) = (events.workspace_id, 'sale', events.sale_key)) as refund_of,
       epoch, shard, entry_ms, entry_seq, entry_index, recorded_at,
       workspaces.name as workspace, links.code as link, programs.number as program,
       partners.code as partner, click_id, attributed_id, customer_id, api_key_id,
       page_url, purpose, {enrichment}
  from events
  left join workspaces on workspaces.id = events.workspace_id
  left join links on links.id = events.link_id
  left join programs on programs.id = events.program_id
  left join partners on partners.id = events.partner_id
 where events.id = $1

-- alias: the event that an id stands for
select event_id from event_aliases where id = $1

-- repeats: the entries that carried this id and were the same event again
select epoch, shard, entry_ms, entry_seq, entry_index, recorded_at from repeats
 where event_id = $1 order by recorded_at limit 20

-- quarantined: the entries that carried this id and could not be recorded
select id, reason::text, detail, status::text, attempts, first_seen, last_seen
  from quarantine where event_id = $1 order by id desc limit 20

-- history: what was done to those entries, oldest first
select quarantine_id, at, who, action::text, note
  from quarantine_history
 where quarantine_id in (select id from quarantine where event_id = $1)
 order by id limit 100

-- dropped: why an entry was counted as quarantined and not kept, and when
select dropped.reason::text, dropped_at
  from dropped_among(array[$1::int], array[$2::smallint], array[$3::bigint], array[$4::bigint], array[$5::smallint]) as dropped
  join quarantine_dropped using (id)

-- tests_between: the test event whose id is in a range
select id from events where id between $1 and $2 and is_test order by id limit 1

-- erased: whether an event is of a person who was erased
select exists (select from events
                left join customers customer on customer.id = events.customer_id
                where events.id = $1
                  and (customer.erased_at is not null and events.kind <> 'click'
                       or events.kind = 'click'
                          and exists (select from suppressions
                                       where suppressions.workspace_id = events.workspace_id
                                         and click_id in (events.id, events.click_id))))

-- detached: whether an id is of a month that is detached
select $1::uuid < events_floor()
