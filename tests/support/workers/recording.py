"""Events recorded at once: the real pipeline, for tests of what it leaves behind."""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import orjson

from ingest.contracts.directory import DEFAULT_WINDOW_DAYS
from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Envelope
from tests.support.directory import LINKS, NOON_MS
from workers.enrich import build_enrichers
from workers.model.batch import Delivery, Entry
from workers.model.rows import timestamp
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool
from workers.postgres.sql import statements

#: When every window of what happens at noon has closed, Unix ms.
LATER_MS = NOON_MS + 400 * 24 * 3600 * 1000

#: Many clicks like the first event, spread over the time after it: more than planners read whole.
MANY_CLICKS = """
insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch, shard, entry_seq,
                    entry_ms, workspace_id, link_id, dialect, recorded_at)
select (substr(first.id::text, 1, 14) || '7' || substr(first.id::text, 16, 9)
        || lpad(to_hex(number + 1000), 12, '0'))::uuid,
       first.at + number * interval '1 minute', 0, 'click', false, false, false, 1, 1, 0, number, 0,
       first.workspace_id, first.link_id, 'bio_re', first.recorded_at - interval '1 day' + number * interval '1 second'
  from (select * from events order by id limit 1) as first, generate_series(1, 60000) as number
"""

_ENRICH = build_enrichers(None)
_ENTRIES = count()


def a_pipeline(pool: Pool, *, now: int = NOON_MS, consumer: str = "tester") -> Pipeline:
    return Pipeline(
        pool=pool, enrich=_ENRICH, consumer=consumer, clock=lambda: now, new_id=uuid4
    )


def a_delivery(payload: Envelope | bytes, seq: int | None = None) -> Delivery:
    """An entry of shard 0, the next one unless told otherwise."""
    raw = payload if isinstance(payload, bytes) else encode(payload)
    number = next(_ENTRIES) if seq is None else seq
    return Delivery(Entry.of(1, 0, NOON_MS, number), raw)


async def record(
    pool: Pool, *payloads: Envelope | bytes, now: int = NOON_MS
) -> list[Delivery]:
    """Let the pipeline take them in as one batch, of shard 0."""
    deliveries = [a_delivery(payload) for payload in payloads]
    assert deliveries == await a_pipeline(pool, now=now).process(deliveries)
    return deliveries


async def record_later(pool: Pool, *payloads: Envelope | bytes) -> None:
    """The same, when every window has closed."""
    await record(pool, *payloads, now=LATER_MS)


async def link_row(pool: Pool, link: UUID = LINKS[0]) -> dict[str, object]:
    async with pool.acquire() as connection:
        found = await connection.fetchrow("select * from links where id = $1", link)
        return dict(found)


async def value_of(pool: Pool, query: str, *values: object) -> object:
    async with pool.acquire() as connection:
        return await connection.fetchval(query, *values)


async def rows_of(pool: Pool, query: str, *values: object) -> list[tuple[Any, ...]]:
    async with pool.acquire() as connection:
        return [tuple(row) for row in await connection.fetch(query, *values)]


async def reasons_of(pool: Pool) -> list[str]:
    """Why what is in quarantine is there, in order."""
    found = await rows_of(pool, "select reason::text from quarantine order by id")
    return [reason for (reason,) in found]


async def ledger_of(pool: Pool) -> tuple[int, ...]:
    """Recorded, repeats, quarantined."""
    [sums] = await rows_of(
        pool,
        "select sum(recorded)::int, sum(repeats)::int, sum(quarantined)::int from ledger",
    )
    return sums


async def rows_attribution_reads(
    pool: Pool,
    people: Sequence[UUID],
    since_ms: int | None,
    clicked: Sequence[UUID] | None = None,
) -> int:
    """How many rows of `events` are read to attribute leads of these from a time on.

    `clicked` are those whose clicks changed: all of them unless told otherwise.
    """
    roots = people if clicked is None else clicked
    since = None if since_ms is None else timestamp(since_ms)
    asked = (people, since, DEFAULT_WINDOW_DAYS, [], [], roots, [])
    query = statements("write/attribution")["leads_attribution"]
    async with pool.acquire() as connection:
        # A plan for these values, not one for all.
        await connection.execute("set plan_cache_mode = force_custom_plan")
        [[document]] = await connection.fetch(
            f"explain (analyze, format json) {query}", *asked
        )
    return _rows_of_events(orjson.loads(document)[0]["Plan"])


def _rows_of_events(plan: Mapping[str, Any]) -> int:
    own = 0
    if plan.get("Relation Name", "").startswith("events_"):
        seen = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        own = round(seen * plan["Actual Loops"])
    return own + sum(map(_rows_of_events, plan.get("Plans", ())))
