from itertools import islice
from pathlib import Path

from uuid_utils.compat import uuid7

from scripts.bench.environment.servers import BenchServers, planted
from scripts.bench.growth import preload
from scripts.bench.load.events import envelopes, unix_ms
from scripts.environment import Environment
from scripts.servers import postgres
from tests.support.workers.recording import record
from workers.postgres.database import open_pool

RECORDED, MORE = 20, 1000


async def test_recorded_clicks_are_repeated_over_thirty_days_with_their_customers(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    variables = {"REDIS_URL": redis_url, "DATABASE_URL": database_url}
    environment = Environment({**variables, "REFTIDE_SECRET": "x" * 16}, lambda: 0.0)
    links = await planted(environment, 3)
    now = unix_ms()
    clicks = envelopes(
        links,
        clock=lambda: now,
        new_id=lambda: uuid7(nanoseconds=now * 1_000_000),
    )
    async with open_pool(database_url, size=2) as pool:
        await record(pool, *islice(clicks, RECORDED), now=now)
    told: list[int] = []

    await preload(BenchServers(environment, tmp_path, links), MORE, told.append)

    assert MORE == sum(told)
    async with postgres(environment) as connection:
        row = await connection.fetchrow(
            """
            select count(*), count(distinct id), max(at) - min(at) as span,
                   count(*) filter (where substr(id::text, 15, 1) = '7') as sevens,
                   count(*) filter (where exists
                       (select from customers where customers.id = events.id)) as known,
                   max(abs(extract(epoch from at) * 1000
                       - ('x0000' || left(replace(id::text, '-', ''), 12))::bit(64)::bigint))
                       as apart
              from events"""
        )
    assert row is not None
    count, ids, span, sevens, known, apart = row
    assert RECORDED + MORE == count == ids == sevens == known
    assert 29 <= span.days <= 30
    assert apart < 2
