-- sellers: the customers of these sales, and the visitors whose clicks they name
select customer_id as id from events where id = any($1::uuid[]) and customer_id is not null
union
select click_id from events where id = any($1::uuid[]) and click_id is not null

-- sales_changed: queue the sales of these events
insert into directory_changes (topic, ref)
select 'sale', workspace_id || ' ' || encode(key, 'hex') from claims where event_id = any($1::uuid[]) and scope = 'sale'

-- refunds_due: the refunds that differ from what they are by their sales, which are those of these keys ($1, $2) and events ($3); those of detached months stay
with sale as (
    select * from unnest($1::uuid[], $2::bytea[]) as sale (workspace_id, key)
    union
    select workspace_id, key from claims where event_id = any($3::uuid[]) and scope = 'sale'
)
select refund.id, refund.at, refund.digest, refund.kind, refund.is_test, refund.is_bot, refund.is_duplicate,
       refund.quantity, refund.epoch, refund.shard, refund.entry_ms, refund.entry_seq, refund.entry_index,
       refund.workspace_id, refund.link_id, refund.program_id, refund.partner_id, refund.click_id,
       refund.customer_id, refund.amount, refund.currency, refund.api_key_id is null as is_keyless,
       due.customer_id as due_customer_id, due.link_id as due_link_id, due.program_id as due_program_id,
       due.partner_id as due_partner_id, due.quantity as due_quantity, due.amount as due_amount,
       due.currency as due_currency
  from sale
 cross join lateral refunds_due(sale.workspace_id, sale.key) as due
 cross join lateral (select * from events where id = due.id offset 0) as refund
 where refund.id >= (select events_floor())
   and (refund.customer_id, refund.link_id, refund.program_id, refund.partner_id,
        refund.quantity, refund.amount, refund.currency)
       is distinct from
       (due.customer_id, due.link_id, due.program_id, due.partner_id, due.quantity, due.amount, due.currency)

-- refunds_settle: set what refunds are
update events
   set customer_id = due.customer_id, link_id = due.link_id, program_id = due.program_id,
       partner_id = due.partner_id, quantity = due.quantity, amount = due.amount, currency = due.currency
  from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::integer[], $7::bigint[], $8::text[])
    as due (id, customer_id, link_id, program_id, partner_id, quantity, amount, currency)
 where events.id = due.id
