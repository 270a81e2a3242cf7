"""What finds one customer, name or attribution reads indexes, whatever is recorded."""

import re
from datetime import timedelta

import pytest

from ingest.contracts.envelope import Dedupe
from scripts.services.find import attribution, customers, events, names, people
from tests.support.directory import NOON_MS, WORKSPACE, a_click, a_lead, an_id
from tests.support.workers.recording import record
from workers.erasure import begin
from workers.model.rows import timestamp
from workers.postgres.database import Pool

_KEY = Dedupe.of("sale", "inv_1")
_LARGE = "events|claims|imported_clicks|customers|event_aliases|quarantine|suppressions"

_ASKED = {
    "tokens": (names, (None, "abc")),
    "sessions": (names, (WORKSPACE, "sess_1", 50)),
    "claims": (names, (None, [_KEY.scope], [_KEY.key])),
    "quarantined": (names, (None, [b"user"], 20_000)),
    "traces": (people, (an_id(1),)),
    "customers_called": (begin, ("user", None)),
    "customers_of_email": (begin, (b"h" * 16, None)),
    "one": (customers, (an_id(1), timestamp(NOON_MS), 60)),
    "bindings": (customers, (an_id(1), [an_id(1)], 60)),
    "lead": (attribution, (an_id(2),)),
    "candidates": (attribution, (an_id(2), 10, 60)),
}

_NOW = timestamp(NOON_MS) + timedelta(hours=40)
#: An event a second, as they come: in the order of time.
_MANY = """
insert into events
select made.*
  from generate_series(1, 60000) as number, events,
       jsonb_populate_record(events, jsonb_build_object(
           'id', uuid7_floor(events.at + number * interval '1 s'), 'at', events.at + number * interval '1 s')) as made
 where events.id = $1
"""
_SUMMARIES = """
select indexrelid::regclass::text
  from pg_index join pg_class on pg_class.oid = indexrelid
  join pg_am on pg_am.oid = relam
 where amname = 'brin' and relkind = 'i' and indrelid in (select relid from pg_partition_tree('events'))
"""
_LAST_OF_PARTS = """
select id from (select id, row_number() over (order by at desc, id desc) as place from events) as each
 where place % 10000 = 0 and place < 60000
"""
_READ = """
select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_xact_user_tables
 where relid in (select relid from pg_partition_tree('events'))
"""


@pytest.mark.parametrize("name", _ASKED)
async def test_an_index_is_read(pool: Pool, name: str) -> None:
    await record(pool, a_click(1), a_lead(2, click_id=an_id(1)))
    module, values = _ASKED[name]

    async with pool.acquire() as connection:
        # Tables this small would be read whole otherwise.
        await connection.execute("set enable_seqscan = off")
        rows = await connection.fetch(f"explain {module._SQL[name]}", *values)

    plan = "\n".join(row[0] for row in rows)
    assert not re.search(rf"Seq Scan on ({_LARGE})", plan), plan


async def test_a_part_of_a_list_does_not_read_the_parts_before_it(pool: Pool) -> None:
    await record(pool, a_click(1))
    async with pool.acquire() as connection:
        await connection.execute(_MANY, an_id(1))
        await connection.execute("analyze events")
        for partition in await connection.fetch(_SUMMARIES):
            await connection.execute(
                f"select brin_summarize_new_values('{partition[0]}')"
            )
        ids = [row["id"] for row in await connection.fetch(_LAST_OF_PARTS)]
        read = []
        for after in (None, *ids):
            async with connection.transaction():
                before = await connection.fetchval(_READ)
                found = await events.page(
                    connection, events.EventFilter(), 1000, _NOW, after
                )
                read.append(await connection.fetchval(_READ) - before)
            assert 1000 == len(found)

    # The first part knows its end by nothing but its limit, as the last ones do.
    assert max(read) < 4 * read[0], read
