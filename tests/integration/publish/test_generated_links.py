"""Links that an edge generated: each is created once, by the first event that names it."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Dedupe, Envelope, Kind
from tests.support.directory import (
    ELSEWHERE,
    FIRST_CLICK,
    KEY_HASH,
    LAST_CLICK,
    LINKS,
    NOON_MS,
    PARTNERS,
    a_click,
    a_lead,
    furnish,
    miscounted,
)
from tests.support.eventually import eventually
from workers.enrich import build_enrichers
from workers.model.batch import Delivery, Entry, TransientError
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, open_pool
from workers.postgres.sql import statements
from workers.resolve.generated_links import generate

_ENRICH = build_enrichers(None)
_ENTRIES = count()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=10) as pool:
        async with pool.acquire() as connection:
            await furnish(connection)
        yield pool


def _named(code: str, partner: str, **changes: Any) -> dict[str, Any]:
    """What an envelope says of a link that nobody has recorded."""
    return {
        "link_id": None,
        "namespaces": ("-",),
        "code": code,
        "partner_code": partner,
        "program_id": LAST_CLICK,
    } | changes


def _generated(number: int, code: str, partner: str, **changes: Any) -> Envelope:
    dedupe = Dedupe.of("link", str(LAST_CLICK), partner)
    values = _named(code, partner) | {"kind": Kind.LINK, "dedupe": dedupe} | changes
    return a_click(number, **values)


def _clicked(number: int, code: str, partner: str, **changes: Any) -> Envelope:
    return a_click(number, **_named(code, partner) | {"at": NOON_MS + 9} | changes)


def _pipeline(pool: Pool, consumer: str = "tester") -> Pipeline:
    return Pipeline(
        pool=pool,
        enrich=_ENRICH,
        consumer=consumer,
        clock=lambda: NOON_MS,
        new_id=uuid4,
    )


def _deliveries(envelopes: Sequence[Envelope]) -> list[Delivery]:
    return [
        Delivery(Entry(1, 0, NOON_MS, next(_ENTRIES)), encode(envelope))
        for envelope in envelopes
    ]


async def _record(pool: Pool, *envelopes: Envelope) -> None:
    deliveries = _deliveries(envelopes)
    assert deliveries == await _pipeline(pool).process(deliveries)


async def _rows(pool: Pool, query: str, *values: object) -> list[tuple[Any, ...]]:
    async with pool.acquire() as connection:
        return [tuple(record) for record in await connection.fetch(query, *values)]


async def _links(pool: Pool) -> list[tuple[Any, ...]]:
    """Links beyond those of the furniture."""
    return await _rows(
        pool,
        "select links.code, partners.code, program_id, clicks, leads from links"
        " left join partners on partners.id = partner_id"
        " where links.id <> all($1::uuid[]) and links.code <> 'foreign' order by 1",
        list(LINKS),
    )


async def _aliases(pool: Pool) -> list[tuple[Any, ...]]:
    return await _rows(pool, "select code, link_id from link_aliases order by code")


async def _reasons(pool: Pool) -> list[str]:
    return [row[0] for row in await _rows(pool, "select reason::text from quarantine")]


async def test_a_generated_link_is_made_with_its_partner_and_enrolment(
    pool: Pool,
) -> None:
    async with pool.acquire() as connection:
        await connection.execute("update programs set url = 'https://shop.example'")

    await _record(pool, _generated(1, "NEW", "alice"))

    made = await _rows(
        pool,
        "select links.namespace, links.url, links.workspace_id, partners.workspace_id,"
        " left(links.public_id, 4), left(partners.public_id, 4), links.created_at,"
        " exists (select from program_partners enrolled where enrolled.partner_id = partners.id)"
        " from links join partners on partners.id = partner_id where links.code = 'NEW'",
    )
    noon = datetime.fromtimestamp(NOON_MS / 1000, UTC)
    here = UUID(int=1)
    assert [
        ("-", "https://shop.example", here, here, "lnk_", "prt_", noon, True)
    ] == made


async def test_a_generated_link_is_an_event_that_counts_nothing(pool: Pool) -> None:
    await _record(pool, _generated(1, "NEW", "alice"))

    assert [("NEW", "alice", LAST_CLICK, 0, 0)] == await _links(pool)
    events = await _rows(
        pool,
        "select kind::text, links.code from events join links on links.id = link_id",
    )
    assert [("link", "NEW")] == events
    assert [] == await _rows(pool, "select * from contributions")
    assert [] == await _rows(pool, "select * from customers")
    assert [(1, 0, 0)] == await _rows(
        pool, "select recorded, repeats, quarantined from ledger"
    )


async def test_a_link_generated_twice_is_one_event(pool: Pool) -> None:
    await _record(pool, _generated(1, "NEW", "alice"))
    await _record(pool, _generated(2, "NEW", "alice"))

    assert [(1,)] == await _rows(pool, "select count(*) from events")
    assert [(1,)] == await _rows(pool, "select count(*) from repeats")


async def test_a_click_that_comes_before_its_link_counts_on_it(pool: Pool) -> None:
    await _record(pool, _clicked(2, "NEW", "alice"))
    before = await _links(pool)
    await _record(pool, _generated(1, "NEW", "alice"))

    assert [("NEW", "alice", LAST_CLICK, 1, 0)] == before == await _links(pool)
    assert [] == await _reasons(pool)
    noon = datetime.fromtimestamp(NOON_MS / 1000, UTC)
    assert [(noon,)] == await _rows(
        pool, "select created_at from links where code = 'NEW'"
    )


async def test_a_lead_by_code_alone_makes_its_link(pool: Pool) -> None:
    lead = a_lead(1, external_id=None, session="s1", **_named("NEW", "alice"))

    await _record(pool, lead)

    assert [("NEW", "alice", LAST_CLICK, 0, 1)] == await _links(pool)


async def test_a_partner_that_is_known_is_not_made_again(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into programs (id, number, workspace_id, name) values ($1, 9, $2, 'new')",
            UUID(int=0x13),
            UUID(int=1),
        )
    code = f"prt{PARTNERS[0].int}"

    await _record(pool, _generated(1, "NEW", code, program_id=UUID(int=0x13)))

    owner = await _rows(pool, "select partner_id from links where code = 'NEW'")
    assert [(PARTNERS[0],)] == owner


async def test_a_partner_with_a_link_gets_a_second_code_for_it(pool: Pool) -> None:
    code = f"prt{PARTNERS[0].int}"

    await _record(pool, _clicked(1, "NEW", code), _generated(2, "NEW", code))

    assert [] == await _links(pool)
    assert [("NEW", LINKS[0])] == await _aliases(pool)
    assert [(1,)] == await _rows(
        pool, "select clicks from links where id = $1", LINKS[0]
    )


async def test_two_codes_of_one_batch_make_one_link(pool: Pool) -> None:
    later = _clicked(1, "AAA", "alice", at=NOON_MS + 5)
    earlier = _clicked(2, "BBB", "alice", at=NOON_MS)

    await _record(pool, later, earlier)

    assert [("BBB", "alice", LAST_CLICK, 2, 0)] == await _links(pool)
    assert ["AAA"] == [code for code, _ in await _aliases(pool)]


async def test_a_code_of_another_link_stays_with_that_link(pool: Pool) -> None:
    await _record(pool, _clicked(1, "L1", "alice"), _generated(2, "L1", "alice"))

    assert [] == await _links(pool)
    assert [] == await _aliases(pool)
    assert [(1,)] == await _rows(
        pool, "select clicks from links where id = $1", LINKS[1]
    )


async def test_a_former_code_of_another_link_stays_with_that_link(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into link_aliases (namespace, code, link_id) values ('-', 'OLD', $1)",
            LINKS[2],
        )

    await _record(pool, _clicked(1, "OLD", "alice"))

    assert [] == await _links(pool)
    assert [(1,)] == await _rows(
        pool, "select clicks from links where id = $1", LINKS[2]
    )


async def test_a_code_that_two_partners_were_given_is_the_earlier_ones(
    pool: Pool,
) -> None:
    later = _clicked(1, "NEW", "alice", at=NOON_MS + 5)
    earlier = _clicked(2, "NEW", "bob", at=NOON_MS)

    await _record(pool, later, earlier)

    assert [("NEW", "bob", LAST_CLICK, 2, 0)] == await _links(pool)


@pytest.mark.parametrize(
    "changes",
    [
        {"program_id": UUID(int=0x99)},
        {"workspace_id": ELSEWHERE},
        {"workspace_id": None},
        {"workspace_id": None, "api_key_hashes": (b"x" * 32,)},
        {"partner_code": "x" * 3000},
    ],
    ids=["no program", "elsewhere", "no workspace", "no key", "long"],
)
async def test_what_nobody_vouches_for_makes_nothing(
    pool: Pool, changes: dict[str, Any]
) -> None:
    await _record(pool, _generated(1, "NEW", "alice", **changes), a_click(2))

    assert [] == await _links(pool)
    assert [(2,)] == await _rows(pool, "select count(*) from partners")
    assert (await _reasons(pool))[0] in {"unknown_link", "unauthorised"}
    assert [(1,)] == await _rows(pool, "select count(*) from events")


async def test_a_key_that_no_edge_could_check_is_checked_here(pool: Pool) -> None:
    key = {"workspace_id": None, "api_key_hashes": (b"x" * 32, KEY_HASH)}

    await _record(pool, _generated(1, "NEW", "alice", **key))

    assert [("NEW", "alice", LAST_CLICK, 0, 0)] == await _links(pool)


async def test_a_program_with_generated_links_has_stats(pool: Pool) -> None:
    await _record(pool, _generated(1, "NEW", "alice"), a_click(2, link_id=LINKS[2]))

    programs = await _rows(pool, "select id, has_stats from programs order by number")
    assert [(LAST_CLICK, True), (FIRST_CLICK, False)] == programs


async def test_many_workers_make_every_link_once_in_any_order(pool: Pool) -> None:
    """Eight workers; every link named often, before and after it is generated."""
    chance = random.Random(7)  # noqa: S311 -- a shuffle that can be repeated
    envelopes: list[Envelope] = []
    for number in range(24):
        code, partner = f"CODE{number}", f"partner-{number % 12}"
        envelopes.append(_generated(1000 + number, code, partner, dedupe=None))
        envelopes += [
            _clicked(100 * number + n, code, partner, at=NOON_MS + n) for n in range(4)
        ]
    envelopes *= 2
    chance.shuffle(envelopes)
    deliveries = _deliveries(envelopes)

    async def work(worker: int) -> None:
        mine = deliveries[worker::8]
        for start in range(0, len(mine), 6):
            batch = mine[start : start + 6]
            assert batch == await _pipeline(pool, f"w{worker}").process(batch)

    async with asyncio.TaskGroup() as group:
        for worker in range(8):
            group.create_task(work(worker))

    links = await _links(pool)
    assert [f"partner-{n}" for n in range(12)] == sorted(
        (row[1] for row in links), key=lambda code: int(code[8:])
    )
    assert [8] * 12 == [row[3] for row in links]
    assert 12 == len(await _aliases(pool))
    assert [] == await _reasons(pool)
    async with pool.acquire() as connection:
        assert [] == await miscounted(connection)


async def test_what_is_delivered_again_makes_nothing_anew(pool: Pool) -> None:
    batch = _deliveries([_generated(1, "NEW", "alice"), _clicked(2, "NEW", "alice")])
    await _pipeline(pool).process(batch)
    before = await _rows(pool, "select * from links order by id")

    again = list(batch)
    assert again == await _pipeline(pool).process(again)

    assert before == await _rows(pool, "select * from links order by id")


async def test_batches_without_generated_links_ask_for_nothing(
    database_url: str,
) -> None:
    async with open_pool(database_url, size=1) as pool:
        pass

    await generate(pool, [a_click(1), a_lead(2, code="L1")], uuid4)

    with pytest.raises(TransientError):
        await generate(pool, [_generated(1, "NEW", "alice")], uuid4)


async def test_a_code_that_an_operator_gives_out_meanwhile_is_the_operators(
    pool: Pool,
) -> None:
    async with (
        pool.acquire() as operator,
        asyncio.TaskGroup() as group,
        operator.transaction(),
    ):
        await operator.execute(
            statements("services/administer/catalogue/links", "scripts")["one_writer"]
        )
        group.create_task(_record(pool, _clicked(1, "NEW", "alice")))
        await eventually(partial(_waits_for_codes, pool))
        await operator.execute("update links set code = 'NEW' where id = $1", LINKS[4])

    assert [] == await _links(pool)
    clicks = await _rows(pool, "select clicks from links where code = 'NEW'")
    assert [(1,)] == clicks


async def _waits_for_codes(pool: Pool) -> bool:
    waiting = await _rows(
        pool,
        "select pid from pg_locks join pg_database on oid = database"
        " where datname = current_database() and locktype = 'advisory' and not granted",
    )
    return waiting != []
