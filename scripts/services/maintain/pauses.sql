-- open: the pause that lasts
select id, cause::text, detail, consumer, paused_at from pauses where resumed_at is null

-- resume: end the pause that lasts
update pauses set resumed_at = now(), fixed = $1, allowed = $2
 where resumed_at is null
returning id, cause::text, detail, consumer, paused_at, resumed_at, fixed, allowed

-- latest: pauses, the latest first
select id, cause::text, detail, consumer, paused_at, resumed_at, fixed, allowed from pauses order by id desc limit $1
