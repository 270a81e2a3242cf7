"""A customer whom very many visitors are said to be, as where a client has no id to give.

Vendors ask for the id of one customer; what some callers send instead,
"undefined" say, is the same for all of theirs.
"""

from collections.abc import Sequence
from uuid import UUID

import pytest

from ingest.contracts.envelope import Envelope
from tests.support.directory import LINKS, NOON_MS, a_click, a_lead, miscounted
from tests.support.workers.recording import (
    record_later,
    rows_attribution_reads,
    rows_of,
    value_of,
)
from workers.postgres.database import Pool
from workers.write.customers import SHARED_CUSTOMER_CLICKS

LATER = 1000


def _visits(visitors: int) -> tuple[list[Envelope], list[Envelope]]:
    """Visitors who all click, and then all become leads of one customer."""
    clicks = [
        a_click(number, at=NOON_MS + number, link_id=LINKS[number % 2])
        for number in range(visitors)
    ]
    leads = [
        a_lead(
            LATER + number,
            at=NOON_MS + LATER + number,
            click_id=click.id,
            link_id=click.target.link_id,
            external_id="undefined",
            name=f"lead {number}",
        )
        for number, click in enumerate(clicks)
    ]
    return clicks, leads


async def _record(pool: Pool, events: Sequence[Envelope]) -> None:
    for begin in range(0, len(events), 7):
        await record_later(pool, *events[begin : begin + 7])
    async with pool.acquire() as connection:
        assert [] == await miscounted(connection)


async def _earned(pool: Pool) -> list[tuple[object, ...]]:
    return await rows_of(
        pool, "select attributed_id from events where kind = 'lead' order by at"
    )


async def test_leads_of_a_customer_earn_the_last_of_his_clicks(pool: Pool) -> None:
    clicks, leads = _visits(SHARED_CUSTOMER_CLICKS)

    await _record(pool, [*clicks, *leads])

    assert [(clicks[-1].id,)] * SHARED_CUSTOMER_CLICKS == await _earned(pool)
    assert not await value_of(pool, "select bool_or(is_crowd) from customers")


@pytest.mark.parametrize("is_backwards", [False, True])
async def test_leads_of_a_crowd_earn_the_click_they_name(
    pool: Pool, *, is_backwards: bool
) -> None:
    clicks, leads = _visits(SHARED_CUSTOMER_CLICKS + 1)
    events = [*clicks, *leads]

    await _record(pool, events[::-1] if is_backwards else events)

    assert [(click.id,) for click in clicks] == await _earned(pool)
    found = await rows_of(pool, "select external_id from customers where is_crowd")
    assert [("undefined",)] == found


async def _multiply(pool: Pool, lead: Envelope, *, is_of_one: bool) -> None:
    """As if twenty thousand more had come just like this one, of one customer or of many."""
    async with pool.acquire() as connection:
        await connection.execute(
            """
            insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch, shard,
                                entry_seq, entry_ms, workspace_id, link_id, program_id, partner_id, click_id, attributed_id, customer_id, dialect)
            select (left(id::text, 24) || lpad(to_hex(1000000 + number), 12, '0'))::uuid,
                   at, 1, kind, false, false, false, 1, 9, 0, number, 0, workspace_id, link_id,
                   program_id, partner_id, click_id, attributed_id, case when $2 then customer_id else md5(number::text)::uuid end, dialect
              from events, generate_series(1, 20000) as number
             where id = $1""",
            lead.id,
            is_of_one,
        )
        await connection.execute("analyze events, customers")


async def test_what_leads_of_a_crowd_read_does_not_grow_with_it(pool: Pool) -> None:
    clicks, leads = _visits(SHARED_CUSTOMER_CLICKS + 40)
    await _record(pool, [*clicks, *leads])
    who = await value_of(pool, "select id from customers where is_crowd")
    assert isinstance(who, UUID)
    await _multiply(pool, leads[0], is_of_one=True)

    # The last lead and its click.
    people = [who, clicks[-1].id]

    assert await rows_attribution_reads(pool, people, leads[-1].request.at) < 20


async def test_leads_that_all_name_one_click_do_not_look_at_one_another(
    pool: Pool,
) -> None:
    """As where a client sends the click id of the vendor's example with every lead."""
    click = a_click(1)
    first = a_lead(2, at=NOON_MS + 5, click_id=click.id, external_id="first")
    await record_later(pool, click, first)
    await _multiply(pool, first, is_of_one=False)
    lead = a_lead(
        3, at=NOON_MS + LATER, click_id=click.id, external_id="second", name="one"
    )
    again = a_lead(
        4, at=NOON_MS + LATER + 1, click_id=click.id, external_id="first", name="again"
    )

    await record_later(pool, lead, again)

    earned = "select attributed_id from events where id = any($1::uuid[])"
    assert [(click.id,)] * 2 == await rows_of(pool, earned, [lead.id, again.id])
    who = await value_of(pool, "select id from customers where external_id = 'second'")
    assert isinstance(who, UUID)
    people = [who, click.id]
    assert await rows_attribution_reads(pool, people, click.request.at, clicked=[]) < 20
