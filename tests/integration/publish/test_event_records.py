"""What events change of the directory: customers, and what partners' links brought."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from ingest.contracts.directory import (
    CustomerRecord,
    SaleRecord,
    StatsRecord,
    customer_key,
    sale_key,
    stats_key,
)
from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Dedupe, Envelope
from tests.support.directory import (
    ELSEWHERE,
    FIRST_CLICK,
    LAST_CLICK,
    LINKS,
    NOON_MS,
    PARTNERS,
    WORKSPACE,
    a_click,
    a_lead,
    a_sale,
    an_id,
    furnish,
)
from tests.support.workers.emails import published
from workers.enrich import build_enrichers
from workers.model.batch import Delivery, Entry
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, open_pool
from workers.postgres.sql import statements
from workers.publish.publisher import (
    publish_changes,
    publish_if_missing,
)
from workers.publish.retention import Retention
from workers.redis_io.connections import for_jobs

#: The publisher's clock stands where the events' does.
AT_NOON = Retention(clock=lambda: NOON_MS)
_ENRICH = build_enrichers(None)
_ENTRIES = count()
_BOT = "Googlebot/2.1 (+http://www.google.com/bot.html)"


@dataclass(frozen=True, slots=True)
class World:
    """A furnished database, a worker's pipeline, and the publisher."""

    pool: Pool
    redis: Redis

    async def record(self, *envelopes: Envelope) -> None:
        pipeline = Pipeline(
            pool=self.pool,
            enrich=_ENRICH,
            consumer="tester",
            clock=lambda: NOON_MS,
            new_id=uuid4,
        )
        await pipeline.process(
            [
                Delivery(Entry(1, 0, NOON_MS, next(_ENTRIES)), encode(envelope))
                for envelope in envelopes
            ]
        )

    async def publish(self) -> int:
        async with self.pool.acquire() as connection:
            return await publish_changes(connection, self.redis, AT_NOON)

    async def publish_anew(self) -> None:
        await self.redis.flushdb()
        async with self.pool.acquire() as connection:
            assert await publish_if_missing(connection, self.redis, AT_NOON)

    async def execute(self, statement: str, *arguments: Any) -> None:
        await self.pool.execute(statement, *arguments)

    async def customer(
        self, external_id: str = "user", workspace: UUID = WORKSPACE
    ) -> CustomerRecord | None:
        key = customer_key(workspace, external_id)
        return await published(self.pool, self.redis, key)

    async def came_by(self, external_id: str = "user") -> tuple[UUID | None, ...]:
        """The click and the link of a published customer."""
        found = await self.customer(external_id)
        assert found is not None
        return found.click_uuid, found.link_uuid

    async def stats(self, number: int = 0) -> tuple[int, int] | None:
        """Conversions and pending sessions of one of the partners, as published."""
        code = f"prt{PARTNERS[number].int}"
        raw = await self.redis.get(stats_key(WORKSPACE, code))
        found = StatsRecord.decode(raw) if raw else None
        return (found.conversions, found.pending) if found else None


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with open_pool(database_url, size=4) as pool, for_jobs(redis_url) as redis:
        async with pool.acquire() as connection:
            await furnish(connection)
        found = World(pool, redis)
        await found.publish()
        yield found


@pytest.fixture
async def counted(world: World) -> World:
    """The world, with stats in the program of the first two links."""
    await world.execute(
        "update programs set has_stats = true where id = $1", LAST_CLICK
    )
    await world.publish()
    return world


# Sales -----------------------------------------------------------------------------------


async def test_a_sale_is_published_with_who_earned_it(world: World) -> None:
    async def sold() -> SaleRecord | None:
        await world.publish()
        raw = await world.redis.get(sale_key(WORKSPACE, named.key))
        return SaleRecord.decode(raw) if raw else None

    named = Dedupe.of("sale", "invoice")
    await world.record(a_sale(2, dedupe=named))

    assert SaleRecord(amount=4900) == await sold()

    await world.record(
        a_click(1), a_lead(3, click_id=an_id(1), link_id=LINKS[0], at=NOON_MS - 1)
    )

    assert SaleRecord(amount=4900, is_earned=True) == await sold()


# Customers -------------------------------------------------------------------------------


async def test_a_new_customer_is_published_as_it_is(world: World) -> None:
    await world.record(
        a_click(1),
        a_lead(2, click_id=an_id(1), link_id=LINKS[0], customer_name="Ada"),
        a_lead(3, external_id="organic", customer_email="o@example.com"),
    )
    await world.publish()

    found = await world.customer()
    assert found is not None
    assert found.is_recorded
    assert ("lead", "Ada", None) == (found.status, found.name, found.email)
    assert (an_id(1), LINKS[0]) == (found.click_uuid, found.link_uuid)
    organic = await world.customer("organic")
    assert organic is not None
    assert (None, None, "o@example.com") == (
        organic.click_uuid,
        organic.link_uuid,
        organic.email,
    )
    assert await world.customer(workspace=ELSEWHERE) is None


async def test_clicks_of_strangers_are_nothing_to_publish(world: World) -> None:
    await world.record(a_click(1), a_click(2), a_click(3, root_id=an_id(1)))

    assert 0 == await world.publish()


async def test_a_customer_has_the_click_that_its_latest_lead_names(
    world: World,
) -> None:
    later = NOON_MS + 1000
    await world.record(
        a_click(1),
        a_click(2, link_id=LINKS[1]),
        a_lead(3, click_id=an_id(1), link_id=LINKS[0]),
    )
    await world.publish()
    await world.record(
        a_lead(4, name="Again", click_id=an_id(2), link_id=LINKS[1], at=later)
    )
    await world.publish()

    assert (an_id(2), LINKS[1]) == await world.came_by()

    await world.record(a_lead(5, name="No click", at=later + 1))
    await world.record(
        a_lead(6, name="Earlier", click_id=an_id(1), link_id=LINKS[0], at=later - 1)
    )
    await world.publish()

    assert (an_id(2), LINKS[1]) == await world.came_by()
    await world.publish_anew()
    assert (an_id(2), LINKS[1]) == await world.came_by()


async def test_a_named_click_counts_even_where_another_earned_the_lead(
    world: World,
) -> None:
    first, second = a_click(1, link_id=LINKS[2]), a_click(2, link_id=LINKS[3])
    await world.record(
        first,
        second,
        a_lead(3, click_id=first.id, link_id=LINKS[2]),
        a_lead(4, name="More", click_id=second.id, link_id=LINKS[3], at=NOON_MS + 1),
    )
    await world.publish()

    assert (second.id, LINKS[3]) == await world.came_by()


async def test_a_click_that_comes_after_its_lead_is_published_with_its_link(
    world: World,
) -> None:
    await world.record(a_lead(2, click_id=an_id(1), link_id=LINKS[0]))
    await world.publish()
    assert (an_id(1), None) == await world.came_by()

    # By its edge's clock it happened after the lead that names it.
    await world.record(a_click(1, id=an_id(1), at=NOON_MS + 90_000))
    await world.publish()

    assert (an_id(1), LINKS[0]) == await world.came_by()


async def test_a_lead_that_names_no_click_has_the_one_that_earned_it(
    world: World,
) -> None:
    await world.record(a_click(1), a_lead(2, click_id=an_id(1), link_id=LINKS[0]))
    await world.execute("update events set click_id = null where kind = 'lead'")

    await world.publish_anew()

    assert (an_id(1), LINKS[0]) == await world.came_by()


async def test_an_identified_visitor_that_clicks_on_is_nothing_to_publish(
    world: World,
) -> None:
    await world.record(a_click(1), a_lead(2, click_id=an_id(1), link_id=LINKS[0]))
    await world.publish()

    await world.record(a_click(3, root_id=an_id(1), at=NOON_MS + 5000))

    assert 0 == await world.publish()


async def test_what_a_customer_is_called_later_is_published(world: World) -> None:
    await world.record(a_lead(1, customer_name="Ada"))
    await world.publish()

    await world.record(a_lead(2, name="Other", customer_name="Ada L.", at=NOON_MS + 1))
    await world.publish()

    found = await world.customer()
    assert found is not None
    assert "Ada L." == found.name


async def test_a_test_lead_publishes_nobody(world: World) -> None:
    await world.record(a_lead(1, is_test=True, program_id=LAST_CLICK))
    await world.publish()

    assert await world.customer() is None


async def test_an_external_id_may_hold_any_text(world: World) -> None:
    strange = "a b:c ü\t'\""
    await world.record(a_lead(1, external_id=strange))
    await world.publish()

    assert await world.customer(strange) is not None


# Stats -----------------------------------------------------------------------------------


def a_visit(number: int, session: str, **changes: Any) -> Envelope:
    return a_click(number, session=session, **changes)


def a_conversion(number: int, session: str, **changes: Any) -> Envelope:
    link = changes.pop("link_id", LINKS[0])
    return a_lead(
        number,
        session=session,
        link_id=link,
        external_id=None,
        dedupe=Dedupe.of("convert", link.hex, session),
        **changes,
    )


async def test_sessions_are_pending_until_they_convert(counted: World) -> None:
    await counted.record(a_visit(1, "s1"), a_visit(2, "s2"), a_visit(3, "s1"))
    await counted.publish()
    assert (0, 2) == await counted.stats()

    await counted.record(a_conversion(4, "s1"), a_conversion(5, "s3"))
    await counted.publish()
    assert (2, 1) == await counted.stats()

    await counted.publish_anew()
    assert (2, 1) == await counted.stats()
    assert (0, 0) == await counted.stats(1)


async def test_a_conversion_counts_once_and_may_overtake_its_click(
    counted: World,
) -> None:
    await counted.record(a_conversion(4, "s1"))
    await counted.record(a_conversion(5, "s1"))
    await counted.record(a_visit(1, "s1"))
    await counted.publish()

    assert (1, 0) == await counted.stats()


async def test_bots_tests_and_clicks_without_a_session_are_not_pending(
    counted: World,
) -> None:
    await counted.record(
        a_visit(1, "s1", user_agent=_BOT),
        a_visit(2, "s2", is_test=True, program_id=LAST_CLICK),
        a_click(3),
    )
    await counted.publish()

    assert (0, 0) == await counted.stats()


async def test_another_link_converts_for_its_own_partner(counted: World) -> None:
    await counted.record(a_visit(1, "s1"), a_conversion(2, "s1", link_id=LINKS[1]))
    await counted.publish()

    assert (0, 1) == await counted.stats()
    assert (1, 0) == await counted.stats(1)


async def test_events_without_sessions_are_nothing_to_publish(counted: World) -> None:
    await counted.record(a_click(1), a_lead(2, external_id=None, link_id=LINKS[0]))

    assert 0 == await counted.publish()


async def test_a_program_without_stats_pays_nothing(counted: World) -> None:
    await counted.record(a_visit(1, "s1", link_id=LINKS[2]))

    assert 0 == await counted.publish()


async def test_stats_sum_all_programs_of_a_partner_that_have_them(
    counted: World,
) -> None:
    await counted.record(
        a_visit(1, "s1"), a_visit(2, "s2", link_id=LINKS[2]), a_conversion(3, "s3")
    )
    await counted.publish()
    assert (1, 1) == await counted.stats()

    await counted.execute(
        "update programs set has_stats = true where id = $1", FIRST_CLICK
    )
    await counted.publish()

    assert (1, 2) == await counted.stats()


async def test_a_session_is_one_on_each_link(counted: World) -> None:
    await counted.execute(
        "update links set partner_id = $1 where id = $2", PARTNERS[0], LINKS[1]
    )
    await counted.record(
        a_click(1, session="s1"),
        a_click(2, session="s1", link_id=LINKS[1]),
    )
    await counted.publish()
    before = await counted.stats()

    # It converts the code that it names.
    await counted.record(
        a_lead(3, external_id=None, session="s1", link_id=LINKS[1]),
    )
    await counted.publish()

    assert (0, 2) == before
    assert (1, 1) == await counted.stats()


async def test_stats_are_summed_up_from_an_index_alone(counted: World) -> None:
    moment = NOON_MS / 1000
    await counted.execute("select make_partition(to_timestamp($1))", moment)
    await counted.execute(
        "insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch, shard,"
        " entry_seq, entry_ms, workspace_id, link_id, dialect, session)"
        " select (substr(uuid7_floor(to_timestamp($3))::text, 1, 24) || lpad(number::text, 12, '0'))::uuid,"
        " to_timestamp($3), 0, 'click', false, false, false, 1, 1, 0, number, 0, $1, $2, 'affitor', number"
        " from generate_series(1, 5000) as number",
        WORKSPACE,
        LINKS[0],
        moment,
    )
    await counted.execute("vacuum (analyze) events")

    sql = statements("publish/publisher")
    asked = (f"array['{WORKSPACE}']", f"array['prt{PARTNERS[0].int}']")
    find = sql["stats_find"].replace("$1", asked[0]).replace("$2", asked[1])
    async with counted.pool.acquire() as connection, connection.transaction():
        await connection.execute(sql["stats_begin"])
        plan = await connection.fetch(f"explain (costs off) {find}")
    lines = [row[0] for row in plan if "events_202503" in row[0]]

    assert lines
    assert all("Index Only Scan" in line for line in lines), lines
    await counted.execute(
        "insert into directory_changes (topic, ref) values ('stats', $1)",
        f"{WORKSPACE} prt{PARTNERS[0].int}",
    )
    await counted.publish()
    assert (0, 5000) == await counted.stats()
