"""What writing an event reads does not depend on what PostgreSQL's statistics say."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ingest.contracts.envelope import Envelope
from tests.support.directory import (
    LINKS,
    NOON_MS,
    a_click,
    a_lead,
    a_sale,
    an_id,
    furnish,
)
from tests.support.workers.recording import record
from workers.postgres.database import Pool, open_pool

CLICKS, BEFORE, MORE = 3000, 2000, 400
#: Index entries an event may read: some for each statement, in each month's partition.
READS = 150


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    # One connection, which says when its reads are counted.
    async with open_pool(database_url, size=1) as pool:
        async with pool.acquire() as connection:
            await furnish(connection)
        yield pool


def sign_up(number: int, **changes: Any) -> Envelope:
    """The first lead of a customer and of a click."""
    values: dict[str, Any] = {
        "at": NOON_MS + CLICKS + number,
        "click_id": an_id(number),
        "link_id": LINKS[0],
        "external_id": f"user {number}",
    }
    return a_lead(CLICKS + number, **values | changes)


def by_a_browser(number: int) -> Envelope:
    return sign_up(number, api_key_id=None, dialect="affitor")


def of_a_known_customer(number: int) -> Envelope:
    who = f"user {number - BEFORE}"
    at = NOON_MS + 2 * CLICKS + number
    return a_lead(2 * CLICKS + number, at=at, external_id=who, name="again")


def sale(number: int) -> Envelope:
    who = f"user {number - BEFORE}"
    return a_sale(
        2 * CLICKS + number, at=NOON_MS + 2 * CLICKS + number, external_id=who
    )


def on_one_click(number: int) -> Envelope:
    return sign_up(number, click_id=an_id(0))


@pytest.mark.parametrize("is_analysed_before", [True, False])
@pytest.mark.parametrize(
    "event", [sign_up, by_a_browser, of_a_known_customer, sale, on_one_click]
)
async def test_a_lead_reads_few_rows_whatever_the_statistics_say(
    pool: Pool, event: Callable[[int], Envelope], *, is_analysed_before: bool
) -> None:
    await record(pool, *[a_click(number) for number in range(CLICKS)])
    if is_analysed_before:
        # As in a month that has seen no lead yet.
        await pool.execute("analyze")
    await record(pool, *[sign_up(number) for number in range(BEFORE)])
    before = await _reads(pool)

    await record(pool, *[event(number) for number in range(BEFORE, BEFORE + MORE)])

    assert (await _reads(pool) - before) / MORE < READS


async def _reads(pool: Pool) -> int:
    """How many entries of indexes were read so far."""
    await pool.execute("select pg_stat_force_next_flush()")
    await pool.execute("select pg_stat_clear_snapshot()")
    found: int = await pool.fetchval(
        "select sum(idx_tup_read)::bigint from pg_stat_user_indexes"
    )
    return found
