-- pause_begin: begin a pause, unless one lasts
insert into pauses (cause, detail, consumer) values ($1::pause_cause, $2, $3)
on conflict do nothing

-- pause_last: the latest pause, and whether it lasts
select id, cause::text, detail, consumer, allowed, resumed_at is null as is_on
  from pauses order by id desc limit 1
