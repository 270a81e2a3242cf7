"""Sales: their quantities and amounts, and that no counter is written without a change."""

from collections.abc import Sequence
from typing import Any

from ingest.contracts.envelope import Dedupe, Kind
from tests.support.directory import (
    ELSEWHERE,
    LAST_CLICK,
    LINKS,
    NOON_MS,
    PARTNERS,
    WORKSPACE,
    a_click,
    a_refund,
    a_sale,
    an_id,
)
from tests.support.envelopes import changed
from tests.support.workers.recording import link_row, record, value_of
from workers.counters.counters import CounterDeltas
from workers.counters.rule import ADD_ALL, TABLES, addition
from workers.model.batch import Entry
from workers.model.rows import EventFacts, Place, Rank, StoredRow, timestamp
from workers.postgres.database import Pool


async def _worth(pool: Pool, table: str = "link_amounts") -> dict[str, int]:
    async with pool.acquire() as connection:
        rows = await connection.fetch(f"select currency, amount from {table}")  # noqa: S608
    return {row["currency"]: row["amount"] for row in rows}


async def test_sales_count_their_quantity_and_sum_their_amounts_by_currency(
    pool: Pool,
) -> None:
    click = a_click(1)
    named = {"click_id": click.id, "link_id": LINKS[0]}

    await record(
        pool,
        click,
        a_sale(2, quantity=3, amount=4900, **named),
        a_sale(3, amount=100, **named),
        a_sale(4, amount=700, currency="EUR", **named),
    )

    assert 5 == (await link_row(pool))["sales"]
    expected = {"USD": 5000, "EUR": 700}
    assert expected == await _worth(pool)
    assert expected == await _worth(pool, "program_partner_amounts")
    assert "customer" == await value_of(
        pool, "select status::text from customers where external_id = 'user'"
    )


async def test_an_invoice_counts_the_amount_of_its_earliest_attempt(pool: Pool) -> None:
    click, invoice = a_click(1), Dedupe.of("sale", "invoice-1")
    named = {"click_id": click.id, "link_id": LINKS[0], "dedupe": invoice}

    await record(pool, click, a_sale(3, at=NOON_MS + 9, amount=999, **named))
    await record(pool, a_sale(2, at=NOON_MS + 5, amount=4900, currency="EUR", **named))
    await record(pool, a_sale(4, at=NOON_MS + 7, amount=1, **named))

    assert {"USD": 0, "EUR": 4900} == await _worth(pool)
    assert 1 == (await link_row(pool))["sales"]


async def test_a_sale_before_its_click_is_worth_nothing_until_the_click_comes(
    pool: Pool,
) -> None:
    click = a_click(1)
    await record(pool, a_sale(2, at=NOON_MS + 5, click_id=click.id, link_id=LINKS[0]))
    before = await _worth(pool)

    await record(pool, click)

    assert ({}, {"USD": 4900}) == (before, await _worth(pool))


async def test_a_sale_for_nothing_has_a_row_and_counts_nothing(pool: Pool) -> None:
    click = a_click(1)
    free = a_sale(2, click_id=click.id, link_id=LINKS[0], quantity=0, amount=0)

    await record(pool, click, free)

    assert 0 == (await link_row(pool))["sales"]
    assert {} == await _worth(pool)
    assert LINKS[0] == await value_of(
        pool, "select link_id from events where id = $1", free.id
    )


async def test_a_refund_takes_back_what_is_left_of_its_sale(pool: Pool) -> None:
    click = a_click(1)
    named = {"click_id": click.id, "link_id": LINKS[0]}
    sale = a_sale(2, dedupe=Dedupe.of("sale", "invoice"), **named)

    await record(pool, click, sale, a_refund(3, amount=-1000, at=NOON_MS + 5))
    after_some = await _worth(pool)
    await record(pool, a_refund(4, at=NOON_MS + 6), a_refund(5, at=NOON_MS + 7))

    assert {"USD": 3900} == after_some
    assert {"USD": 0} == await _worth(pool)
    assert {"USD": 0} == await _worth(pool, "program_partner_amounts")
    link = await link_row(pool)
    assert (1, 2) == (link["sales"], link["refunds"])


async def test_a_refund_larger_than_its_sale_takes_back_the_sale(pool: Pool) -> None:
    click = a_click(1)
    named = {"click_id": click.id, "link_id": LINKS[0]}
    sale = a_sale(2, dedupe=Dedupe.of("sale", "invoice"), **named)

    await record(pool, click, sale, a_refund(3, amount=-5000, at=NOON_MS + 5))

    assert {} == await _worth(pool)


async def test_a_refund_of_another_workspace_s_sale_takes_nothing(pool: Pool) -> None:
    click = a_click(1)
    named = {"click_id": click.id, "link_id": LINKS[0]}
    sale = a_sale(2, dedupe=Dedupe.of("sale", "invoice"), **named)

    await record(pool, click, sale, a_refund(3, workspace_id=ELSEWHERE))

    assert {"USD": 4900} == await _worth(pool)
    assert 0 == (await link_row(pool))["refunds"]


async def test_a_refund_that_overtakes_its_sale_waits_and_counts_once(
    pool: Pool,
) -> None:
    click, invoice = a_click(1), Dedupe.of("sale", "invoice")
    named = {"click_id": click.id, "link_id": LINKS[0], "dedupe": invoice}
    again = {"dedupe": Dedupe.of("refund", "invoice")}

    await record(pool, click, a_refund(3, at=NOON_MS + 5, **again))
    await record(pool, a_refund(4, at=NOON_MS + 9, **again))
    before = (await link_row(pool))["refunds"], await _worth(pool)
    await record(pool, a_sale(2, **named))

    assert (0, {}) == before
    link = await link_row(pool)
    assert (1, 1) == (link["sales"], link["refunds"])
    assert {} == await _worth(pool)


async def test_a_refund_follows_its_sale_to_another_partner(pool: Pool) -> None:
    first, later = a_click(1), a_click(2, at=NOON_MS + 9, link_id=LINKS[1])
    sale = a_sale(
        3,
        at=NOON_MS + 20,
        click_id=first.id,
        link_id=LINKS[0],
        dedupe=Dedupe.of("sale", "invoice"),
    )
    await record(pool, first, sale, a_refund(4, amount=-900, at=NOON_MS + 30))

    await record(pool, changed(later, root_id=first.id, root_link_id=LINKS[0]))

    links = "select refunds from links where id = $1"
    assert 0 == await value_of(pool, links, LINKS[0])
    assert 1 == await value_of(pool, links, LINKS[1])
    amounts = "select amount from link_amounts where link_id = $1"
    assert 0 == await value_of(pool, amounts, LINKS[0])
    assert 4000 == await value_of(pool, amounts, LINKS[1])


async def test_a_refund_follows_the_earliest_attempt_at_its_sale(pool: Pool) -> None:
    click, invoice = a_click(1), Dedupe.of("sale", "invoice")
    named = {"click_id": click.id, "link_id": LINKS[0], "dedupe": invoice}

    await record(pool, click, a_sale(3, at=NOON_MS + 9, amount=999, **named))
    await record(pool, a_refund(4, at=NOON_MS + 30))
    await record(pool, a_sale(2, at=NOON_MS + 5, currency="EUR", **named))

    assert {"USD": 0} == await _worth(pool)
    link = await link_row(pool)
    assert (1, 1) == (link["sales"], link["refunds"])
    assert -4900 == await value_of(
        pool, "select amount from events where sale_key is not null"
    )


async def test_no_counter_without_a_change_is_written(pool: Pool) -> None:
    sale = _row(Kind.SALE, amount=5, currency="USD")

    assert ["counts"] == await _counted(pool, put=[_row(Kind.CLICK)])
    assert [
        "counts",
        "link_amounts",
        "program_partner_amounts",
    ] == await _counted(pool, put=[sale])
    # The bucket of facets is marked, whatever is the difference.
    assert ["counts"] == await _counted(pool, put=[sale], take=[sale])


async def _counted(
    pool: Pool, put: Sequence[StoredRow], take: Sequence[StoredRow] = ()
) -> list[str]:
    """The statements by which a difference is counted, in order."""
    names = {addition(table): table.name for table in TABLES} | {ADD_ALL: "counts"}
    asked: list[str] = []
    deltas = CounterDeltas()
    deltas.put(put)
    deltas.take(take)
    async with pool.acquire() as connection:
        with connection.query_logger(lambda record: asked.append(record.query)):
            await deltas.apply(connection)
    return [names[query] for query in asked if query in names]


def _row(kind: Kind, **values: Any) -> StoredRow:
    return StoredRow(
        entry=Entry(1, 0, NOON_MS, 0),
        rank=Rank(is_keyless=True, at=timestamp(NOON_MS), id=an_id(1), digest=0),
        event=EventFacts(
            kind=kind,
            quantity=1,
            is_test=False,
            is_bot=False,
            is_duplicate=False,
            amount=values.get("amount"),
            currency=values.get("currency"),
        ),
        place=Place(
            workspace_id=WORKSPACE,
            link_id=LINKS[0],
            program_id=LAST_CLICK,
            partner_id=PARTNERS[0],
        ),
    )
