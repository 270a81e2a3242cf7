-- traces: a customer and the visitors who became it ($1), with the first clicks that its latest events name, under all their ids
with recursive named as (
    select keyless.number as keyless, 0 as depth,
           (select click_id from events
             where customer_id = $1 and (api_key_id is null)::int = keyless.number
               and kind <> 'click' and click_id is not null and not is_test
             order by click_id desc limit 1) as click_id
      from (values (0), (1)) as keyless (number)
    union all
    -- Each click once, however many events name it.
    select keyless, depth + 1,
           (select click_id from events
             where customer_id = $1 and (api_key_id is null)::int = named.keyless
               and kind <> 'click' and click_id is not null and not is_test and click_id < named.click_id
             order by click_id desc limit 1)
      from named
     where click_id is not null and depth < 32
), visitor as (
    (select id from customers where points_to = $1 order by id desc limit 32)
    union all
    select id from customers where id = $1 and external_id is null
), click as (
    select click_id as id from named where click_id is not null
    union select id from visitor
), family as (
    select click.id, coalesce(alias.event_id, click.id) as event_id
      from click left join event_aliases alias on alias.id = click.id
)
select array(select $1::uuid union select id from visitor) as customers,
       array(select id from family
             union select event_id from family
             union select other.id from family join event_aliases other on other.event_id = family.event_id) as clicks
