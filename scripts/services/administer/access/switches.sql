-- list: all that is off, the latest first
select scope::text, subject, reason, created_at from switches order by created_at desc, scope, subject

-- off: switch it off, or say another reason
insert into switches (scope, subject, reason)
values ($1::text::switch_scope, $2, $3)
on conflict (scope, subject) do update set reason = excluded.reason
returning scope::text, subject, reason, created_at

-- on: switch it on again; no row where it was on
delete from switches where scope = $1::text::switch_scope and subject = $2 returning reason

-- link: whether a link has this public id
select public_id from links where public_id = $1

-- program: whether a program has this number
select number from programs where number = $1
