-- columns: every column of every table and view of the schema in use
select relname as table_name, attname as column_name
  from pg_attribute join pg_class on pg_class.oid = attrelid
 where relnamespace = current_schema()::regnamespace
   and relkind in ('r', 'p', 'v') and attnum > 0 and not attisdropped
