"""Any order and any repetition of the same events ends in the same rows, counters, amounts."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields
from itertools import count
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contracts.clickid import NO_LINK
from ingest.contracts.directory import DEFAULT_WINDOW_DAYS
from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Dedupe, Envelope, Kind
from ingest.contracts.stream import joined
from tests.support.directory import (
    ELSEWHERE,
    FOREIGN_LINK,
    KEY,
    LINKS,
    NOON_MS,
    WORKSPACE,
    Books,
    a_click,
    a_lead,
    a_refund,
    a_sale,
    furnish,
    miscounted,
    read_books,
    uncount_links,
)
from tests.support.envelopes import changed
from tests.support.examples import examples
from workers.enrich import build_enrichers
from workers.model.batch import Delivery, Entry, deliveries_of
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, open_pool
from workers.postgres.sql import statements
from workers.write import customers, keyless

_DAY_MS = 24 * 3600 * 1000
_ENRICH = build_enrichers(None)
_TABLES = (
    "events, visits, customers, claims, event_aliases, repeats, quarantine, ledger, link_days,"
    " program_partners, link_amounts, program_partner_amounts, directory_changes, facets, facet_amounts, dirty"
)
_AGENTS = (None, "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140.0", "curl/8.0")
_CODES = {FOREIGN_LINK: "foreign"} | {link: f"L{n}" for n, link in enumerate(LINKS)}
_HOUR_MS = 3_600_000
_MOMENTS = (
    0,
    1,
    1000,
    _HOUR_MS // 2,
    _HOUR_MS,
    3 * _HOUR_MS // 2,
    _DAY_MS,
    70 * _DAY_MS,
)
_VISITORS = st.sampled_from((None, b"visitor1", b"visitor1", b"visitor2"))
_FEW = st.integers(0, 3)
_SESSIONS = st.sampled_from((None, "s1", "s2"))


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=4) as pool:
        async with pool.acquire() as connection:
            await furnish(connection)
        yield pool


async def _play(
    pool: Pool, batches: Sequence[Sequence[Delivery]], *, workers: int = 1
) -> Books:
    """Process batches in an empty installation; the books afterwards.

    Several workers take the batches in turn, all at once.
    """
    async with pool.acquire() as connection:
        await connection.execute(f"truncate {_TABLES}")
        await uncount_links(connection)
    minted = iter(range(10_000))
    pipeline = Pipeline(
        pool=pool,
        enrich=_ENRICH,
        consumer="tester",
        clock=lambda: NOON_MS + 365 * _DAY_MS,
        new_id=lambda: UUID(int=next(minted) + (1 << 100)),
    )

    async def work(mine: Sequence[Sequence[Delivery]]) -> None:
        for batch in mine:
            assert list(await pipeline.process(batch)) == list(batch)

    async with asyncio.TaskGroup() as group:
        for worker in range(workers):
            group.create_task(work(batches[worker::workers]))
    async with pool.acquire() as connection:
        assert await miscounted(connection) == []
        assert await _misattributed(connection) == []
        assert await _unaccounted(connection, batches) == []
        return await read_books(connection)


async def _misattributed(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    """Leads that earn something else when all that there is is looked at."""
    people = await connection.fetchval("select array_agg(id) from customers")
    asked = (people or [], None, DEFAULT_WINDOW_DAYS, [], [], people or [], [])
    return await connection.fetch(
        statements("write/attribution")["leads_attribution"], *asked
    )


async def _unaccounted(
    connection: asyncpg.Connection, batches: Sequence[Sequence[Delivery]]
) -> list[object]:
    """Entries that are not exactly one of recorded, repeat and quarantined."""
    entries = {delivery.entry for batch in batches for delivery in batch}
    found = await connection.fetch(
        "select epoch, shard, entry_ms, entry_seq, entry_index from events"
        " union all select epoch, shard, entry_ms, entry_seq, entry_index from repeats"
        " union all select epoch, shard, entry_ms, entry_seq, entry_index from quarantine"
    )
    places = sorted(tuple(record) for record in found)
    ledger = await connection.fetchrow(
        "select coalesce(sum(recorded), 0)::int, coalesce(sum(repeats), 0)::int,"
        " coalesce(sum(quarantined), 0)::int from ledger"
    )
    counted = await connection.fetchrow(
        "select (select count(*) from events)::int, (select count(*) from repeats)::int,"
        " (select count(*) from quarantine)::int"
    )
    return [
        *([] if places == sorted(entries) else [(places, sorted(entries))]),
        *([] if tuple(ledger) == tuple(counted) else [(ledger, counted)]),
    ]


def _deliveries(
    envelopes: Sequence[Envelope], chance: random.Random
) -> list[list[Delivery]]:
    """Every envelope once or more, alone or with others in an entry, in any order and cut.

    Some batches are delivered again, as after a death before the acknowledgement: also in
    the middle of an entry.
    """
    attempts = [item for item in envelopes for _ in range(chance.choice((1, 1, 1, 2)))]
    chance.shuffle(attempts)
    entries: list[Delivery] = []
    for number in count():
        some = [encode(each) for each in attempts[: chance.choice((1, 1, 2, 4))]]
        del attempts[: len(some)]
        if not some:
            break
        place = Entry(1, number % 2, NOON_MS, number)
        entries += deliveries_of(place, joined(some))
    batches: list[list[Delivery]] = []
    while entries:
        size = chance.randint(1, 6)
        batches.append(entries[:size])
        del entries[:size]
    redelivered = [chance.choice(batches) for _ in range(chance.randint(0, 2))]
    for batch in redelivered:
        at = chance.randint(batches.index(batch) + 1, len(batches))
        batches.insert(at, list(batch))
    return batches


@st.composite
def histories(draw: st.DrawFn) -> list[Envelope]:
    """Clicks, leads and sales that know of one another, and repeats that say otherwise."""
    clicks = [draw(_clicks(number)) for number in range(draw(st.integers(1, 5)))]
    for number, click in enumerate(clicks[1:], start=1):
        if draw(st.booleans()):
            root = draw(st.sampled_from(_roots(clicks[:number])))
            # A click id that was issued without a directory names no link.
            link = draw(
                st.sampled_from((root.target.link_id, root.target.link_id, None))
            )
            clicks[number] = changed(click, root_id=root.id, root_link_id=link)
    # A visitor who carries a click id keeps it, so no other is ever handed out to be named.
    leads = [
        draw(_leads(100 + number, _roots(clicks)))
        for number in range(draw(st.integers(0, 4)))
    ]
    refunds = [draw(_refunds(300 + number)) for number in range(draw(_FEW))]
    direct = [draw(_direct(200 + number)) for number in range(draw(st.integers(0, 2)))]
    events = [*clicks, *leads, *direct, *refunds]
    repeated = draw(st.lists(st.sampled_from(events), max_size=3))
    return events + [draw(_attempts(event)) for event in repeated]


def _roots(clicks: Sequence[Envelope]) -> list[Envelope]:
    """The clicks whose ids visitors carry: those that came without one of this workspace."""
    places = {click.id: click.request.workspace_id for click in clicks}
    return [
        click
        for click in clicks
        if click.click.root_id is None
        or (
            click.click.root_link_id
            and places[click.click.root_id] != click.request.workspace_id
        )
    ]


@st.composite
def _clicks(draw: st.DrawFn, number: int) -> Envelope:
    link = draw(st.sampled_from((*LINKS, FOREIGN_LINK)))
    changes: dict[str, Any] = {
        "at": NOON_MS + draw(st.sampled_from(_MOMENTS)),
        "visitor": draw(_VISITORS),
        "link_id": link,
        "workspace_id": ELSEWHERE if link == FOREIGN_LINK else WORKSPACE,
        "is_duplicate": draw(st.booleans()),
        "user_agent": draw(st.sampled_from(_AGENTS)),
        "is_test": False,
        "session": draw(_SESSIONS),
    }
    if draw(st.integers(0, 2)) == 0:
        # An idempotency key means the same event for 30 days.
        is_late = changes["at"] > NOON_MS + _DAY_MS
        key = draw(st.sampled_from(("c", "d") if is_late else ("a", "b")))
        changes["dedupe"] = Dedupe.of("affitor:click", key)
    return a_click(number, **changes)


@st.composite
def _leads(draw: st.DrawFn, number: int, clicks: Sequence[Envelope]) -> Envelope:
    """Leads, deferred ones and sales: of a click, of a customer alone, or of both."""
    named = draw(st.sampled_from([None, *clicks, *clicks]))
    external = draw(st.sampled_from(("ann", "bob", None) if named else ("ann", "bob")))
    name = draw(st.sampled_from(("sign-up", "trial")))
    changes: dict[str, Any] = {
        "at": NOON_MS + draw(st.sampled_from((0, 2, 2000, _DAY_MS, 80 * _DAY_MS))),
        "click_id": named and named.id,
        "external_id": external,
        "name": name,
        "session": draw(_SESSIONS),
        "customer_name": draw(st.sampled_from((None, "Ann", "Bob"))),
        "customer_email": draw(st.sampled_from((None, "a@x.example"))),
        "quantity": draw(st.integers(1, 3)),
    }
    if named and draw(st.integers(0, 2)) > 0:
        changes["link_id"] = named.target.link_id
        # Who has a click id may send it without a key.
        changes["api_key_id"] = draw(st.sampled_from((KEY, None)))
    elif named:
        # As of a click id that was issued without a directory: it may be anybody's.
        changes["workspace_id"] = draw(st.sampled_from((WORKSPACE, ELSEWHERE)))
        changes["link_id"] = draw(st.sampled_from((None, NO_LINK)))
    else:
        changes |= draw(_mentions())
    kind = draw(st.sampled_from((Kind.LEAD, Kind.LEAD, Kind.SALE, Kind.DEFERRED)))
    if kind is Kind.SALE:
        if draw(st.booleans()):
            invoice = draw(st.sampled_from(("i1", "i2")))
            changes["dedupe"] = Dedupe.of("sale", invoice)
        return a_sale(number, **changes | draw(_prices()))
    if kind is Kind.LEAD and external is not None and draw(st.booleans()):
        changes["dedupe"] = Dedupe.of("lead", external, name)
    return a_lead(number, kind=kind, **changes)


@st.composite
def _mentions(draw: st.DrawFn) -> dict[str, Any]:
    """What a customer's lead says of a link without any click: nothing, or not the truth."""
    link = draw(st.sampled_from((None, None, *LINKS, FOREIGN_LINK)))
    if link is not None and draw(st.booleans()):
        return {"link_id": link}
    code = draw(st.sampled_from((_CODES.get(link) if link else None, "nobody")))
    return {"namespaces": ("-",), "code": code} if code else {}


@st.composite
def _prices(draw: st.DrawFn) -> dict[str, Any]:
    amount = draw(st.sampled_from((0, 500, 4900)))
    return {
        "amount": amount,
        "currency": draw(st.sampled_from(("USD", "EUR"))),
        "quantity": draw(st.integers(1, 3)) if amount else 0,
    }


@st.composite
def _direct(draw: st.DrawFn, number: int) -> Envelope:
    """Events of a link itself, named by id, or by code where no edge could look."""
    link = draw(st.sampled_from((*LINKS, FOREIGN_LINK)))
    session = draw(_SESSIONS)
    changes: dict[str, Any] = {
        "at": NOON_MS + draw(st.sampled_from((0, 2, _DAY_MS))),
        "external_id": None,
        "session": session,
        "link_id": link,
        "workspace_id": ELSEWHERE if link == FOREIGN_LINK else WORKSPACE,
        "kind": draw(st.sampled_from((Kind.LEAD, Kind.LEAD, Kind.SALE, Kind.LINK))),
    }
    if draw(st.booleans()):
        code = {"namespaces": ("d:x.example", "-"), "code": _CODES[link]}
        changes |= {"link_id": None, "workspace_id": None, **code}
    if changes["kind"] is Kind.SALE:
        changes |= draw(_prices())
    elif session is not None:
        changes["dedupe"] = Dedupe.of("convert", _CODES[link], session)
    return a_lead(number, **changes)


@st.composite
def _refunds(draw: st.DrawFn, number: int) -> Envelope:
    """Refunds of sales that may be there, in whole or in part, or beyond what is left."""
    sale = draw(st.sampled_from(("i1", "i2")))
    name = draw(st.sampled_from(("r1", "r2", None)))
    return a_refund(
        number,
        sale,
        at=NOON_MS + draw(st.sampled_from((0, 1, 3000, _DAY_MS))),
        amount=draw(st.sampled_from((None, -200, -300, -9000))),
        dedupe=Dedupe.of("refund", sale, name) if name else None,
    )


@st.composite
def _attempts(draw: st.DrawFn, event: Envelope) -> Envelope:
    """Another attempt at an event under its id, later or not, with another payload."""
    changes: dict[str, Any] = {
        "at": event.request.at + draw(st.sampled_from((0, 5, 900)))
    }
    if event.kind is Kind.CLICK:
        changes["is_duplicate"] = draw(st.booleans())
        changes["visitor"] = draw(_VISITORS)
    else:
        changes["customer_name"] = draw(st.sampled_from((None, "Cas", "Dot")))
        if event.request.api_key_id is None:
            changes["api_key_id"] = draw(st.sampled_from((KEY, None)))
        changes["quantity"] = draw(st.integers(1, 3))
    if event.kind is Kind.REFUND:
        changes["amount"] = draw(st.sampled_from((None, -100)))
    if event.kind is Kind.SALE:
        changes |= draw(_prices())
    return changed(event, **changes)


@examples(60)
@given(events=histories(), seed=st.integers(0, 2**32))
async def test_any_order_and_any_repetition_ends_in_the_same_books(
    pool: Pool, events: list[Envelope], seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 -- shuffles, hides nothing

    first = await _play(pool, _deliveries(events, chance))
    second = await _play(pool, _deliveries(events, chance))

    assert_equal(first, second)


@examples(30)
@given(events=histories(), seed=st.integers(0, 2**32))
async def test_it_does_not_matter_when_a_customer_turns_out_to_be_a_crowd(
    pool: Pool, events: list[Envelope], seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 -- shuffles, hides nothing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(customers, "SHARED_CUSTOMER_CLICKS", 1)
        patch.setattr(keyless, "SHARED_CLICK_CUSTOMERS", 1)
        first = await _play(pool, _deliveries(events, chance))
        second = await _play(pool, _deliveries(events, chance), workers=2)

    assert_equal(first, second)


@examples(30)
@given(events=histories(), seed=st.integers(0, 2**32))
async def test_workers_at_the_same_time_end_in_the_same_books(
    pool: Pool, events: list[Envelope], seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 -- shuffles, hides nothing

    alone = await _play(pool, _deliveries(events, chance))
    together = await _play(pool, _deliveries(events, chance), workers=4)

    assert_equal(alone, together)


def assert_equal(first: Books, second: Books) -> None:
    for book in fields(Books):
        ours, theirs = getattr(first, book.name), getattr(second, book.name)
        assert [row for row in ours if row not in theirs] == [], book.name
        assert [row for row in theirs if row not in ours] == [], book.name
