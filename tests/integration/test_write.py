"""One batch, one transaction: what stands afterwards, and what is counted."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest

from ingest.contracts.envelope import Dedupe, Envelope, Kind, encode
from tests.world import (
    FOREIGN_LINK,
    KEY_HASH,
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
    miscounted,
)
from workers.batch import Boundary, Delivery, Entry
from workers.counters import Deltas
from workers.database import Pool, open_pool
from workers.enrich import build_enrichers
from workers.pipeline import Pipeline
from workers.rows import Standing, moment
from workers.sql import statements

_ENRICH = build_enrichers(None)
_ENTRIES = count()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=10) as pool:
        async with pool.acquire() as connection:
            await furnish(connection)
        yield pool


def _pipeline(pool: Pool, *, now: int = NOON_MS, consumer: str = "tester") -> Pipeline:
    return Pipeline(
        pool=pool, enrich=_ENRICH, consumer=consumer, clock=lambda: now, new_id=uuid4
    )


def _delivery(envelope: Envelope | bytes) -> Delivery:
    payload = envelope if isinstance(envelope, bytes) else encode(envelope)
    return Delivery(Entry(1, 0, NOON_MS, next(_ENTRIES)), payload)


async def _record(pool: Pool, *envelopes: Envelope | bytes) -> list[Delivery]:
    deliveries = [_delivery(envelope) for envelope in envelopes]
    assert deliveries == await _pipeline(pool).process(deliveries)
    return deliveries


async def _link(pool: Pool, link: UUID = LINKS[0]) -> dict[str, object]:
    async with pool.acquire() as connection:
        record = await connection.fetchrow("select * from links where id = $1", link)
        return dict(record)


async def _value(pool: Pool, query: str, *values: object) -> object:
    async with pool.acquire() as connection:
        return await connection.fetchval(query, *values)


async def _reasons(pool: Pool) -> list[str]:
    async with pool.acquire() as connection:
        rows = await connection.fetch("select reason::text from quarantine order by id")
        return [row["reason"] for row in rows]


async def test_a_click_has_a_row_a_customer_and_counts_once(pool: Pool) -> None:
    agent = (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"
        " (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
    )
    click = a_click(1, user_agent=agent, ip="81.2.69.0", referrer="https://x.example/a")

    await _record(pool, click)

    async with pool.acquire() as connection:
        row = await connection.fetchrow("select * from events")
        customer = await connection.fetchrow("select * from customers")
    seen = [row[name] for name in ("country", "device", "browser", "referrer_host")]
    assert ["GB", "desktop", "Chrome", "x.example"] == seen
    assert (click.id, "click", None) == (
        customer["id"],
        customer["status"],
        customer["points_to"],
    )
    link = await _link(pool)
    assert (1, 0) == (link["clicks"], link["leads"])
    assert row["at"] == link["last_clicked_at"]


async def test_a_lead_in_its_clicks_millisecond_and_batch_is_attributed(
    pool: Pool,
) -> None:
    click = a_click(1)
    lead = a_lead(2, click_id=click.id, link_id=LINKS[0])

    await _record(pool, lead, click)

    assert click.id == await _value(
        pool, "select attributed_id from events where id = $1", lead.id
    )
    assert 1 == (await _link(pool))["leads"]


async def test_a_lead_before_its_click_is_attributed_when_the_click_comes(
    pool: Pool,
) -> None:
    click = a_click(1)
    lead = a_lead(2, click_id=click.id, link_id=LINKS[0], at=NOON_MS + 5)

    await _record(pool, lead)
    before = (await _link(pool))["leads"]
    await _record(pool, click)

    assert (0, 1) == (before, (await _link(pool))["leads"])


async def test_an_entry_delivered_again_changes_nothing(pool: Pool) -> None:
    deliveries = await _record(pool, a_click(1), a_lead(2))

    again = list(deliveries)
    assert again == await _pipeline(pool).process(again)

    assert 2 == await _value(pool, "select sum(recorded)::int from ledger")
    assert 0 == await _value(pool, "select count(*) from repeats")
    assert 1 == (await _link(pool))["clicks"]


async def test_a_lost_click_id_keeps_resolving(pool: Pool) -> None:
    key = Dedupe.of("affitor:click", "one")
    first = a_click(1, dedupe=key)
    second = a_click(2, dedupe=key, at=NOON_MS + 5)
    lead = a_lead(3, click_id=second.id, link_id=LINKS[0], at=NOON_MS + 9)

    await _record(pool, second, lead)
    await _record(pool, first)

    assert first.id == await _value(
        pool, "select attributed_id from events where id = $1", lead.id
    )
    link = await _link(pool)
    assert (1, 1) == (link["clicks"], link["leads"])


async def test_the_unplaceable_go_to_quarantine_and_their_batchmates_are_recorded(
    pool: Pool,
) -> None:
    lead = a_lead(9, click_id=an_id(1), link_id=FOREIGN_LINK)

    await _record(
        pool,
        b"\x00 no envelope",
        a_click(1),
        a_click(2, link_id=None, workspace_id=None, namespaces=("-",), code="nobody"),
        a_click(3, link_id=uuid4()),
        lead,
        a_lead(10, workspace_id=None, api_key_hashes=(b"x" * 32,)),
        a_click(11, id=an_id(11, NOON_MS + 6 * 60_000)),
    )

    expected = [
        "undecodable",
        "unknown_link",
        "unknown_link",
        "unknown_click",
        "unauthorised",
        "future_id",
    ]
    assert sorted(expected) == sorted(await _reasons(pool))
    assert 1 == (await _link(pool))["clicks"]


async def test_what_postgres_refuses_is_found_and_its_batchmates_are_recorded(
    pool: Pool,
) -> None:
    poison = a_sale(50, currency="DOLLARS")

    await _record(pool, *(a_click(number) for number in range(50)), poison)

    assert ["unstorable"] == await _reasons(pool)
    assert 50 == (await _link(pool))["clicks"]
    assert 50 == await _value(pool, "select sum(recorded)::int from ledger")


async def test_an_envelope_of_a_later_release_is_left_alone(pool: Pool) -> None:
    newer = _delivery(b'{"v":2,"shape":"unheard of"}')
    known = _delivery(a_click(1))

    assert [known] == await _pipeline(pool).process([newer, known])

    assert [] == await _reasons(pool)


async def test_an_unresolved_click_is_resolved_by_its_code_or_its_alias(
    pool: Pool,
) -> None:
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into link_aliases (namespace, code, link_id) values ('-', 'old', $1)",
            LINKS[1],
        )
    unresolved = {"link_id": None, "workspace_id": None, "namespaces": ("d:a.b", "-")}

    await _record(
        pool,
        a_click(1, code="L0", **unresolved),
        a_click(2, code="old", **unresolved),
    )

    assert 1 == (await _link(pool, LINKS[0]))["clicks"]
    assert 1 == (await _link(pool, LINKS[1]))["clicks"]


async def test_a_code_unknown_under_a_known_domain_is_not_looked_up_elsewhere(
    pool: Pool,
) -> None:
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into domains (domain, workspace_id) select 'a.b', id from workspaces limit 1"
        )

    await _record(
        pool,
        a_click(1, link_id=None, namespaces=("d:a.b", "-"), code="L0"),
    )

    assert ["unknown_link"] == await _reasons(pool)


async def test_an_unverified_key_is_verified_by_the_worker(pool: Pool) -> None:
    click = a_click(1)
    lead = a_lead(
        2,
        workspace_id=None,
        api_key_hashes=(b"x" * 32, KEY_HASH),
        click_id=click.id,
        link_id=LINKS[0],
    )

    await _record(pool, click, lead)

    assert 1 == (await _link(pool))["leads"]


async def test_an_unverified_lead_on_an_old_click_is_expired(pool: Pool) -> None:
    lead = a_lead(
        2,
        at=NOON_MS + 61 * 24 * 3600 * 1000,
        workspace_id=None,
        api_key_hashes=(KEY_HASH,),
        click_id=an_id(1),
        link_id=LINKS[0],
    )
    delivery = _delivery(lead)

    await _pipeline(pool, now=lead.at).process([delivery])

    assert ["expired"] == await _reasons(pool)


async def test_tests_are_recorded_and_count_nothing(pool: Pool) -> None:
    async with pool.acquire() as connection:
        program = await connection.fetchval("select id from programs limit 1")

    await _record(pool, a_click(1, is_test=True, link_id=None, program_id=program))

    assert 1 == await _value(pool, "select count(*) from events where is_test")
    assert 0 == await _value(pool, "select count(*) from customers")
    assert 0 == await _value(pool, "select count(*) from contributions")


async def _worth(pool: Pool, table: str = "link_amounts") -> dict[str, int]:
    async with pool.acquire() as connection:
        rows = await connection.fetch(f"select currency, amount from {table}")  # noqa: S608
    return {row["currency"]: row["amount"] for row in rows}


async def test_sales_count_their_quantity_and_sum_their_amounts_by_currency(
    pool: Pool,
) -> None:
    click = a_click(1)
    named = {"click_id": click.id, "link_id": LINKS[0]}

    await _record(
        pool,
        click,
        a_sale(2, quantity=3, amount=4900, **named),
        a_sale(3, amount=100, **named),
        a_sale(4, amount=700, currency="EUR", **named),
    )

    assert 5 == (await _link(pool))["sales"]
    expected = {"USD": 5000, "EUR": 700}
    assert expected == await _worth(pool)
    assert expected == await _worth(pool, "program_partner_amounts")
    assert "customer" == await _value(
        pool, "select status::text from customers where external_id = 'user'"
    )


async def test_an_invoice_counts_the_amount_of_its_earliest_attempt(pool: Pool) -> None:
    click, invoice = a_click(1), Dedupe.of("sale", "invoice-1")
    named = {"click_id": click.id, "link_id": LINKS[0], "dedupe": invoice}

    await _record(pool, click, a_sale(3, at=NOON_MS + 9, amount=999, **named))
    await _record(pool, a_sale(2, at=NOON_MS + 5, amount=4900, currency="EUR", **named))
    await _record(pool, a_sale(4, at=NOON_MS + 7, amount=1, **named))

    assert {"USD": 0, "EUR": 4900} == await _worth(pool)
    assert 1 == (await _link(pool))["sales"]


async def test_a_sale_before_its_click_is_worth_nothing_until_the_click_comes(
    pool: Pool,
) -> None:
    click = a_click(1)
    await _record(pool, a_sale(2, at=NOON_MS + 5, click_id=click.id, link_id=LINKS[0]))
    before = await _worth(pool)

    await _record(pool, click)

    assert ({}, {"USD": 4900}) == (before, await _worth(pool))


async def test_a_sale_for_nothing_has_a_row_and_counts_nothing(pool: Pool) -> None:
    click = a_click(1)
    free = a_sale(2, click_id=click.id, link_id=LINKS[0], quantity=0, amount=0)

    await _record(pool, click, free)

    assert 0 == (await _link(pool))["sales"]
    assert {} == await _worth(pool)
    assert LINKS[0] == await _value(
        pool, "select link_id from events where id = $1", free.id
    )


async def test_no_counter_without_a_change_is_written(pool: Pool) -> None:
    sale = _standing(Kind.SALE, amount=5, currency="USD")

    assert ["counts_add"] == await _counted(pool, put=[_standing(Kind.CLICK)])
    assert [
        "counts_add",
        "link_amounts_count",
        "program_partner_amounts_count",
    ] == await _counted(pool, put=[sale])
    assert [] == await _counted(pool, put=[sale], take=[sale])


async def _counted(
    pool: Pool, put: Sequence[Standing], take: Sequence[Standing] = ()
) -> list[str]:
    """The statements by which a difference is counted, in order."""
    names = {statement: name for name, statement in statements("counters").items()}
    asked: list[str] = []
    deltas = Deltas()
    deltas.put(put)
    deltas.take(take)
    async with pool.acquire() as connection:
        with connection.query_logger(lambda record: asked.append(record.query)):
            await deltas.apply(connection)
    return [names[query] for query in asked if query in names]


def _standing(kind: Kind, **values: Any) -> Standing:
    return Standing(
        id=an_id(1),
        at=moment(NOON_MS),
        digest=0,
        kind=kind,
        is_test=False,
        is_bot=False,
        is_duplicate=False,
        quantity=1,
        entry=Entry(1, 0, NOON_MS, 0),
        workspace_id=WORKSPACE,
        link_id=LINKS[0],
        program_id=LAST_CLICK,
        partner_id=PARTNERS[0],
        **values,
    )


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

    await _record(pool, *leads)

    async with pool.acquire() as connection:
        row = await connection.fetchrow("select * from events")
    assert (LINKS[0], LAST_CLICK, PARTNERS[0], "s1", None) == (
        row["link_id"],
        row["program_id"],
        row["partner_id"],
        row["session"],
        row["customer_id"],
    )
    assert 1 == (await _link(pool))["leads"]
    assert 1 == await _value(
        pool,
        "select leads from program_partners where (program_id, partner_id) = ($1, $2)",
        LAST_CLICK,
        PARTNERS[0],
    )
    assert 0 == await _value(pool, "select count(*) from customers")


@pytest.mark.parametrize("code", ["foreign", "nobody"])
async def test_a_lead_of_a_link_that_its_workspace_lacks_is_refused(
    pool: Pool, code: str
) -> None:
    named = {"namespaces": ("-",), "code": code}

    await _record(pool, a_lead(1, external_id=None, **named))

    assert ["unknown_link"] == await _reasons(pool)


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

    await _record(pool, lead, sale)

    assert 2 == await _value(
        pool,
        "select count(*) from events where link_id is null and customer_id notnull",
    )
    assert "customer" == await _value(pool, "select status::text from customers")
    assert 0 == await _value(pool, "select count(*) from contributions")


async def test_a_mentioned_link_confines_attribution_to_its_program(pool: Pool) -> None:
    click = a_click(1, link_id=LINKS[0])
    bound = a_lead(2, kind=Kind.DEFERRED, click_id=click.id, link_id=LINKS[0])
    same = a_lead(3, at=NOON_MS + 5, link_id=LINKS[1])
    other = a_lead(4, at=NOON_MS + 5, link_id=LINKS[2], name="trial")

    await _record(pool, click, bound, same, other)

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

    await _record(pool, click, deferred)
    before = (await _link(pool))["leads"]
    await _record(pool, lead)

    assert (0, 1) == (before, (await _link(pool))["leads"])
    assert click.id == await _value(
        pool, "select attributed_id from events where id = $1", lead.id
    )


@pytest.mark.parametrize("link_id", [None, UUID(int=0)])
async def test_a_click_id_without_a_link_is_placed_by_the_recorded_click(
    pool: Pool, link_id: UUID | None
) -> None:
    key = Dedupe.of("affitor:click", "one")
    click, lost = a_click(1, dedupe=key), a_click(2, at=NOON_MS + 1, dedupe=key)
    unplaced = {"workspace_id": None, "link_id": link_id, "external_id": None}
    await _record(pool, click, lost)

    await _record(
        pool,
        a_lead(3, at=NOON_MS + 5, click_id=click.id, **unplaced),
        a_lead(4, at=NOON_MS + 5, click_id=lost.id, **unplaced),
        a_lead(5, at=NOON_MS + 5, click_id=an_id(9), **unplaced),
    )

    assert 2 == (await _link(pool))["leads"]
    assert ["unknown_click"] == await _reasons(pool)


async def test_a_click_id_without_a_link_expires_too(pool: Pool) -> None:
    click = a_click(1)
    late = NOON_MS + 61 * 24 * 3600 * 1000
    await _record(pool, click)

    lead = a_lead(2, at=late, workspace_id=None, click_id=click.id)
    await _pipeline(pool, now=late).process([_delivery(lead)])

    assert ["expired"] == await _reasons(pool)


async def test_a_click_with_an_unverified_key_is_verified_by_the_worker(
    pool: Pool,
) -> None:
    unresolved = {"link_id": None, "workspace_id": None, "namespaces": ("-",)}

    await _record(
        pool,
        a_click(1, code="L0", api_key_hashes=(KEY_HASH,), **unresolved),
        a_click(2, code="L0", api_key_hashes=(b"x" * 32,), **unresolved),
        a_click(3, code="foreign", api_key_hashes=(KEY_HASH,), **unresolved),
    )

    assert 1 == (await _link(pool))["clicks"]
    assert ["unauthorised", "unknown_link"] == sorted(await _reasons(pool))


async def test_a_test_lead_needs_no_program_where_its_workspace_is_known(
    pool: Pool,
) -> None:
    await _record(pool, a_lead(1, is_test=True))

    assert 1 == await _value(pool, "select count(*) from events where is_test")
    assert 0 == await _value(pool, "select count(*) from contributions")


async def test_the_latest_word_on_a_customer_is_kept(pool: Pool) -> None:
    early = a_lead(1, customer_name="Early", customer_email="a@x.example")
    late = a_lead(2, at=NOON_MS + 5, customer_name="Late", name="trial")

    await _record(pool, late)
    await _record(pool, early)

    async with pool.acquire() as connection:
        customer = await connection.fetchrow("select * from customers")
    assert ("Late", "a@x.example", "lead") == (
        customer["name"],
        customer["email"],
        customer["status"],
    )


async def test_many_workers_at_once_count_everything_once(pool: Pool) -> None:
    """Eight writers, the same events shuffled between them, customers in common."""
    clicks = [a_click(number, link_id=LINKS[number % 5]) for number in range(60)]
    returning = [
        a_click(
            100 + number,
            at=NOON_MS + 1,
            root_id=clicks[number].id,
            root_link_id=clicks[number].link_id,
        )
        for number in range(30)
    ]
    leads = [
        a_lead(
            200 + number,
            at=NOON_MS + 2,
            click_id=clicks[number % 20].id,
            link_id=clicks[number % 20].link_id,
            external_id=f"user-{number % 7}",
            name=f"name-{number % 3}",
            dedupe=Dedupe.of("lead", f"user-{number % 7}", f"name-{number % 3}"),
        )
        for number in range(40)
    ]
    events = [*clicks, *returning, *leads]
    deliveries = [_delivery(event) for event in events * 3]

    async def work(worker: int) -> None:
        mine = deliveries[worker::4] + deliveries[worker::8]
        pipeline = _pipeline(pool, consumer=f"worker-{worker}")
        for start in range(0, len(mine), 10):
            await pipeline.process(mine[start : start + 10])

    async with asyncio.TaskGroup() as group:
        for worker in range(8):
            group.create_task(work(worker))

    async with pool.acquire() as connection:
        assert [] == await miscounted(connection)
        totals = await connection.fetchrow(
            "select sum(recorded)::int, sum(repeats)::int, sum(quarantined)::int from ledger"
        )
    winners = len({(f"user-{n % 7}", f"name-{n % 3}") for n in range(40)})
    recorded = 90 + winners
    assert (recorded, len(deliveries) - recorded, 0) == tuple(totals)
    assert recorded == await _value(pool, "select count(*) from events")


class _Died(BaseException):
    """As if the process had been killed on this line."""


def _dies_at(boundary: Boundary) -> Callable[[Boundary], None]:
    def reached(here: Boundary) -> None:
        if here == boundary:
            raise _Died

    return reached


BOUNDARIES: Sequence[Boundary] = (
    "read",
    "resolved",
    "enriched",
    "written",
    "committed",
)


@pytest.mark.parametrize("boundary", BOUNDARIES)
async def test_a_worker_may_die_on_any_line(pool: Pool, boundary: Boundary) -> None:
    click = a_click(1)
    lead = a_lead(2, click_id=click.id, link_id=LINKS[0], at=NOON_MS + 5)
    batch = [_delivery(event) for event in (click, lead, b"junk", click)]
    dying = Pipeline(
        pool=pool,
        enrich=_ENRICH,
        consumer="mortal",
        clock=lambda: NOON_MS,
        new_id=uuid4,
        boundary=_dies_at(boundary),
    )

    with pytest.raises(_Died):
        await dying.process(batch)
    again = list(batch)
    assert again == await _pipeline(pool).process(again)

    link = await _link(pool)
    assert (1, 1) == (link["clicks"], link["leads"])
    async with pool.acquire() as connection:
        assert [] == await miscounted(connection)
        totals = await connection.fetchrow(
            "select sum(recorded)::int, sum(repeats)::int, sum(quarantined)::int from ledger"
        )
    assert (2, 1, 1) == tuple(totals)
