"""What a schema consists of, as PostgreSQL has it, whatever way it came to be."""

import re

import asyncpg

#: The order of columns is left out: `alter table … add column` puts one last. A month's
#: partition counts by its shape, since which months there are depends on the day.
_PARTS = (
    # The order of labels is part of a type: it is how its values sort.
    """
    select 'type ' || typname, string_agg(enumlabel, ', ' order by enumsortorder)
      from pg_enum join pg_type on pg_type.oid = enumtypid
     where typnamespace = 'public'::regnamespace group by typname
    """,
    """
    select 'relation ' || relname,
           concat_ws(' ', relkind::text, relispartition, relpersistence::text, reloptions::text,
                     pg_get_partkeydef(oid), obj_description(oid))
      from pg_class
     where relnamespace = 'public'::regnamespace and relkind <> 'i' and relkind <> 'I'
    """,
    """
    select 'column ' || relname || '.' || attname,
           concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, attidentity::text,
                     attgenerated::text, attstorage::text, attcollation::regcollation,
                     pg_get_expr(adbin, adrelid))
      from pg_attribute
      join pg_class on pg_class.oid = attrelid
      left join pg_attrdef on adrelid = attrelid and adnum = attnum
     where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v')
       and attnum > 0 and not attisdropped
    """,
    # A partition's constraints and indexes are named by PostgreSQL.
    """
    select 'constraint ' || conrelid::regclass || ' '
           || case when relispartition then '' else conname end,
           pg_get_constraintdef(pg_constraint.oid) || ' ' || convalidated
      from pg_constraint join pg_class on pg_class.oid = conrelid
     where connamespace = 'public'::regnamespace
    """,
    """
    select 'index ' || indrelid::regclass,
           case when relispartition
                then regexp_replace(pg_get_indexdef(indexrelid), 'INDEX \\S+', 'INDEX')
                else pg_get_indexdef(indexrelid) end || ' ' || indisvalid
      from pg_index join pg_class on pg_class.oid = indexrelid
     where relnamespace = 'public'::regnamespace
    """,
    """
    select 'routine ' || oid::regprocedure, pg_get_functiondef(oid)
      from pg_proc where pronamespace = 'public'::regnamespace
    """,
    """
    select 'trigger ' || tgrelid::regclass, pg_get_triggerdef(pg_trigger.oid) || tgenabled::text
      from pg_trigger join pg_class on pg_class.oid = tgrelid
     where relnamespace = 'public'::regnamespace and not tgisinternal
    """,
    """
    select 'view ' || viewname, definition from pg_views where schemaname = 'public'
    """,
    """
    select 'sequence ' || sequencename,
           concat_ws(' ', data_type, start_value, min_value, max_value, increment_by, cycle)
      from pg_sequences where schemaname = 'public'
    """,
)
_MONTH = re.compile(r"\bevents_\d{6}")


async def catalogue(connection: asyncpg.Connection) -> set[tuple[str, str]]:
    """Every part of the schema `public` by its name, and what it is."""
    found = [row for part in _PARTS for row in await connection.fetch(part)]
    return {
        (_MONTH.sub("events_MONTH", name), _MONTH.sub("events_MONTH", what))
        for name, what in found
    }
