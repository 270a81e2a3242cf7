"""Leads by a link, a customer or a click alone, and keys that only a worker can check."""

from typing import Any
from uuid import UUID

import pytest

from ingest.contracts.envelope import Dedupe, Kind
from tests.support.directory import (
    KEY_HASH,
    LAST_CLICK,
    LINKS,
    NOON_MS,
    PARTNERS,
    a_click,
    a_lead,
    a_sale,
    an_id,
)
from tests.support.workers.emails import opened
from tests.support.workers.recording import (
    a_delivery,
    a_pipeline,
    link_row,
    reasons_of,
    record,
    value_of,
)
from workers.postgres.database import Pool


async def test_an_unverified_key_is_verified_by_the_worker(pool: Pool) -> None:
    click = a_click(1)
    lead = a_lead(
        2,
        workspace_id=None,
        api_key_hashes=(b"x" * 32, KEY_HASH),
        click_id=click.id,
        link_id=LINKS[0],
    )

    await record(pool, click, lead)

    assert 1 == (await link_row(pool))["leads"]


async def test_an_unverified_lead_on_an_old_click_is_expired(pool: Pool) -> None:
    lead = a_lead(
        2,
        at=NOON_MS + 61 * 24 * 3600 * 1000,
        workspace_id=None,
        api_key_hashes=(KEY_HASH,),
        click_id=an_id(1),
        link_id=LINKS[0],
    )
    delivery = a_delivery(lead)

    await a_pipeline(pool, now=lead.request.at).process([delivery])

    assert ["expired"] == await reasons_of(pool)


@pytest.mark.parametrize(
    "named",
    [
        {"link_id": LINKS[0]},
        {"workspace_id": None, "namespaces": ("-",), "code": "L0"},
        {
            "workspace_id": None,
            "api_key_hashes": (KEY_HASH,),
            "namespaces": ("-",),
            "code": "L0",
        },
    ],
)
async def test_a_lead_of_a_link_itself_needs_neither_click_nor_customer(
    pool: Pool, named: dict[str, Any]
) -> None:
    key = Dedupe.of("convert", "L0", "s1")
    leads = [
        a_lead(number, external_id=None, session="s1", dedupe=key, **named)
        for number in (1, 2)
    ]

    await record(pool, *leads)

    async with pool.acquire() as connection:
        row = await connection.fetchrow("select * from events")
    assert (LINKS[0], LAST_CLICK, PARTNERS[0], "s1", None) == (
        row["link_id"],
        row["program_id"],
        row["partner_id"],
        row["session"],
        row["customer_id"],
    )
    assert 1 == (await link_row(pool))["leads"]
    assert 1 == await value_of(
        pool,
        "select leads from program_partners where (program_id, partner_id) = ($1, $2)",
        LAST_CLICK,
        PARTNERS[0],
    )
    assert 0 == await value_of(pool, "select count(*) from customers")


@pytest.mark.parametrize("code", ["foreign", "nobody"])
async def test_a_lead_of_a_link_that_its_workspace_lacks_is_refused(
    pool: Pool, code: str
) -> None:
    named = {"namespaces": ("-",), "code": code}

    await record(pool, a_lead(1, external_id=None, **named))

    assert ["unknown_link"] == await reasons_of(pool)


@pytest.mark.parametrize(
    "mentioned",
    [
        {},
        {"link_id": LINKS[0]},
        {"namespaces": ("-",), "code": "L0"},
        {"namespaces": ("-",), "code": "foreign"},
        {"namespaces": ("-",), "code": "nobody"},
    ],
)
async def test_a_customer_without_clicks_is_recorded_and_nobody_earns_it(
    pool: Pool, mentioned: dict[str, Any]
) -> None:
    lead, sale = a_lead(1, **mentioned), a_sale(2, **mentioned)

    await record(pool, lead, sale)

    assert 2 == await value_of(
        pool,
        "select count(*) from events where link_id is null and customer_id notnull",
    )
    assert "customer" == await value_of(pool, "select status::text from customers")
    assert 0 == await value_of(pool, "select count(*) from contributions")


async def test_a_mentioned_link_confines_attribution_to_its_program(pool: Pool) -> None:
    click = a_click(1, link_id=LINKS[0])
    bound = a_lead(2, kind=Kind.DEFERRED, click_id=click.id, link_id=LINKS[0])
    same = a_lead(3, at=NOON_MS + 5, link_id=LINKS[1])
    other = a_lead(4, at=NOON_MS + 5, link_id=LINKS[2], name="trial")

    await record(pool, click, bound, same, other)

    async with pool.acquire() as connection:
        rows = await connection.fetch(
            "select id, link_id from events where kind = 'lead'"
        )
    assert {same.id: LINKS[0], other.id: None} == {
        row["id"]: row["link_id"] for row in rows
    }


async def test_a_deferred_lead_binds_its_click_and_counts_nothing(pool: Pool) -> None:
    click = a_click(1)
    deferred = a_lead(2, kind=Kind.DEFERRED, click_id=click.id, link_id=LINKS[0])
    lead = a_lead(3, at=NOON_MS + 5)

    await record(pool, click, deferred)
    before = (await link_row(pool))["leads"]
    await record(pool, lead)

    assert (0, 1) == (before, (await link_row(pool))["leads"])
    assert click.id == await value_of(
        pool, "select attributed_id from events where id = $1", lead.id
    )


@pytest.mark.parametrize("link_id", [None, UUID(int=0)])
async def test_a_click_id_without_a_link_is_placed_by_the_recorded_click(
    pool: Pool, link_id: UUID | None
) -> None:
    key = Dedupe.of("affitor:click", "one")
    click, lost = a_click(1, dedupe=key), a_click(2, at=NOON_MS + 1, dedupe=key)
    unplaced = {"workspace_id": None, "link_id": link_id, "external_id": None}
    await record(pool, click, lost)

    await record(
        pool,
        a_lead(3, at=NOON_MS + 5, click_id=click.id, **unplaced),
        a_lead(4, at=NOON_MS + 5, click_id=lost.id, **unplaced),
        a_lead(5, at=NOON_MS + 5, click_id=an_id(9), **unplaced),
    )

    assert 2 == (await link_row(pool))["leads"]
    assert ["unknown_click"] == await reasons_of(pool)


async def test_a_click_id_without_a_link_expires_too(pool: Pool) -> None:
    click = a_click(1)
    late = NOON_MS + 61 * 24 * 3600 * 1000
    await record(pool, click)

    lead = a_lead(2, at=late, workspace_id=None, click_id=click.id)
    await a_pipeline(pool, now=late).process([a_delivery(lead)])

    assert ["expired"] == await reasons_of(pool)


@pytest.mark.parametrize(("days", "reasons"), [(59, []), (61, ["expired"])])
async def test_a_click_is_as_old_as_its_click_id_says(
    pool: Pool, days: int, reasons: list[str]
) -> None:
    dated = NOON_MS - days * 24 * 3600 * 1000
    await record(pool, a_click(1, id=an_id(1), at=dated))

    named = {"click_id": an_id(1), "click_dated": dated, "link_id": LINKS[0]}
    lead = a_lead(2, workspace_id=None, api_key_id=None, **named)
    await a_pipeline(pool, now=NOON_MS).process([a_delivery(lead)])

    assert reasons == await reasons_of(pool)
    attributed = "select count(attributed_id) from events where kind = 'lead'"
    async with pool.acquire() as connection:
        assert (not reasons) == await connection.fetchval(attributed)


async def test_a_click_with_an_unverified_key_is_verified_by_the_worker(
    pool: Pool,
) -> None:
    unresolved = {"link_id": None, "workspace_id": None, "namespaces": ("-",)}

    await record(
        pool,
        a_click(1, code="L0", api_key_hashes=(KEY_HASH,), **unresolved),
        a_click(2, code="L0", api_key_hashes=(b"x" * 32,), **unresolved),
        a_click(3, code="foreign", api_key_hashes=(KEY_HASH,), **unresolved),
    )

    assert 1 == (await link_row(pool))["clicks"]
    assert ["unauthorised", "unknown_link"] == sorted(await reasons_of(pool))


async def test_a_test_lead_needs_no_program_where_its_workspace_is_known(
    pool: Pool,
) -> None:
    await record(pool, a_lead(1, is_test=True))

    assert 1 == await value_of(pool, "select count(*) from events where is_test")
    assert 0 == await value_of(pool, "select count(*) from contributions")


async def test_the_latest_word_on_a_customer_is_kept(pool: Pool) -> None:
    early = a_lead(1, customer_name="Early", customer_email="a@x.example")
    late = a_lead(2, at=NOON_MS + 5, customer_name="Late", name="trial")

    await record(pool, late)
    await record(pool, early)

    async with pool.acquire() as connection:
        customer = await connection.fetchrow("select * from customers")
    assert ("Late", "a@x.example", "lead") == (
        customer["name"],
        await opened(pool, customer["email_sealed"]),
        customer["status"],
    )
