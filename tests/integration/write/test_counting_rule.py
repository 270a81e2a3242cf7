"""What a row adds to the counters is the same in Python as in the view `shares`."""

from collections.abc import Sequence
from itertools import product
from uuid import UUID

import pytest

from ingest.contracts.envelope import Kind
from tests.support.directory import (
    KEY,
    LAST_CLICK,
    LINKS,
    NOON_MS,
    PARTNERS,
    WORKSPACE,
    a_click,
    an_id,
    miscounted,
)
from workers.counters.counters import CounterDeltas
from workers.counters.rule import NAMES, TABLES
from workers.model.batch import Entry
from workers.model.enrichment import Enrichment
from workers.model.rows import (
    COLUMNS,
    EventFacts,
    Rank,
    Resolution,
    Row,
    StoredRow,
    timestamp,
    values_of,
)
from workers.postgres.database import Connection, Pool, copy_rows

_DAY_MS = 24 * 3600 * 1000
_FLAG = (False, True)
_PRICES = ((None, None), (700, "USD"), (None, "EUR"), (9, None))


def _row(number: int, event: EventFacts, link: UUID | None, owner: int) -> Row:
    # The last millisecond of a day, and the first of the next.
    at_ms = NOON_MS - NOON_MS % _DAY_MS - number % 2
    program, partner = [(LAST_CLICK, PARTNERS[0]), (LAST_CLICK, None), (None, None)][
        owner
    ]
    return Row(
        entry=Entry(1, 0, NOON_MS, number),
        rank=Rank(
            is_keyless=False, at=timestamp(at_ms), id=an_id(number), digest=number
        ),
        event=event,
        place=Resolution(
            workspace_id=WORKSPACE,
            link_id=link,
            program_id=program,
            partner_id=partner,
            api_key_id=KEY,
        ),
        envelope=a_click(number),
        enrichment=Enrichment(),
        ip=None,
    )


def _all_sorts() -> list[Row]:
    """A row of every kind with every combination of flags, place and price."""
    sorts = product(
        Kind, _FLAG, _FLAG, _FLAG, (LINKS[0], LINKS[1], None), range(3), _PRICES
    )
    return [
        _row(
            number,
            EventFacts(
                kind=kind,
                quantity=number % 5,
                is_test=is_test,
                is_bot=is_bot,
                is_duplicate=is_duplicate,
                amount=amount,
                currency=currency,
            ),
            link,
            owner,
        )
        for number, (
            kind,
            is_test,
            is_bot,
            is_duplicate,
            link,
            owner,
            (amount, currency),
        ) in enumerate(sorts)
    ]


async def _insert(connection: Connection, rows: Sequence[Row]) -> None:
    await connection.fetchval("select make_partition($1)", timestamp(NOON_MS))
    await copy_rows(connection, "events", COLUMNS, map(values_of, rows), len(rows))
    await connection.execute(
        "insert into ledger (epoch, shard, consumer, recorded) values (1, 0, 'w', $1)",
        len(rows),
    )


async def _read(connection: Connection) -> list[StoredRow]:
    query = "select *, api_key_id is null as is_keyless from events"
    return [StoredRow.of(row) for row in await connection.fetch(query)]


async def test_python_and_sql_count_the_same(pool: Pool) -> None:
    rows = _all_sorts()
    deltas = CounterDeltas()
    deltas.put(rows)
    async with pool.acquire() as connection:
        await _insert(connection, rows)
        await deltas.apply(connection)

        assert [] == await miscounted(connection)
        assert await connection.fetchval("select min(clicks) > 0 from link_days")


async def test_what_is_read_back_counts_as_what_was_written(pool: Pool) -> None:
    deltas = CounterDeltas()
    rows = _all_sorts()
    async with pool.acquire() as connection:
        await _insert(connection, rows)
        deltas.put(rows)
        deltas.take(await _read(connection))
        await deltas.apply(connection)

        sums = [
            await connection.fetchval(f"select count(*) from {table.name}")  # noqa: S608 -- names of ours
            for table in TABLES
            if table.name != "links"
        ]
        links = await connection.fetchval(
            "select sum(clicks + leads + sales) from links"
        )
    assert ([0, 0, 0, 0], 0) == (sums, links)


@pytest.mark.parametrize("name", NAMES)
async def test_each_counter_counts_something(pool: Pool, name: str) -> None:
    rows = _all_sorts()
    deltas = CounterDeltas()
    deltas.put(rows)
    async with pool.acquire() as connection:
        await deltas.apply(connection)

        assert await connection.fetchval(f"select min({name}) > 0 from link_days")  # noqa: S608 -- names of ours
