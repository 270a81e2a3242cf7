-- catalog: what is in the schema, by kind and name; of functions also the text
select 'relation' as kind, relname::text as name, null as body
  from pg_class
 where relnamespace = current_schema()::regnamespace
union all
select 'column', relname || '.' || attname, null
  from pg_attribute join pg_class on pg_class.oid = attrelid
 where relnamespace = current_schema()::regnamespace and attnum > 0 and not attisdropped
union all
select 'function', proname::text, prosrc
  from pg_proc
 where pronamespace = current_schema()::regnamespace
