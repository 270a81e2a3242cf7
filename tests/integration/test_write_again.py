"""What comes again, comes late, or cannot be stored: nothing is counted twice or held up."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from ingest.contracts.clickid import NO_LINK
from ingest.contracts.directory import (
    DEFAULT_WINDOW_DAYS,
    KEYS_NAMESPACE,
    workspace_namespace,
)
from ingest.contracts.envelope import Dedupe, Envelope, encode
from scripts.queries import statements as operators
from tests.world import (
    ELSEWHERE,
    FOREIGN_LINK,
    KEY_HASH,
    LINKS,
    NOON_MS,
    WORKSPACE,
    a_click,
    a_lead,
    a_sale,
    an_id,
    furnish,
    miscounted,
)
from workers import known
from workers.batch import Delivery, Entry, Trouble
from workers.claiming import KEPT
from workers.database import DataFault, Pool, open_pool, transaction
from workers.enrich import build_enrichers
from workers.pipeline import Pipeline
from workers.rows import moment
from workers.sql import statements
from workers.upkeep import fold_ledger, sweep_claims

_ENRICH = build_enrichers(None)
_ENTRIES = count()
_DAY_MS = 24 * 3600 * 1000


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=4) as pool:
        async with pool.acquire() as connection:
            await furnish(connection)
        yield pool


def _pipeline(pool: Pool, consumer: str = "tester") -> Pipeline:
    return Pipeline(
        pool=pool,
        enrich=_ENRICH,
        consumer=consumer,
        clock=lambda: NOON_MS + 400 * _DAY_MS,
        new_id=uuid4,
    )


def _delivery(payload: Envelope | bytes, seq: int | None = None) -> Delivery:
    raw = payload if isinstance(payload, bytes) else encode(payload)
    number = next(_ENTRIES) if seq is None else seq
    return Delivery(Entry.of(1, 0, NOON_MS, number), raw)


async def _record(pool: Pool, *payloads: Envelope | bytes) -> None:
    deliveries = [_delivery(payload) for payload in payloads]
    assert deliveries == await _pipeline(pool).process(deliveries)


async def _rows(pool: Pool, query: str, *values: object) -> list[tuple[Any, ...]]:
    async with pool.acquire() as connection:
        return [tuple(row) for row in await connection.fetch(query, *values)]


async def _ledger(pool: Pool) -> tuple[int, ...]:
    [sums] = await _rows(
        pool,
        "select sum(recorded)::int, sum(repeats)::int, sum(quarantined)::int from ledger",
    )
    return sums


# Entries that come again -----------------------------------------------------------------


async def test_a_quarantined_entry_is_not_recorded_when_it_is_read_again(
    pool: Pool,
) -> None:
    click = a_click(1, link_id=None, workspace_id=None, namespaces=("-",), code="soon")
    delivery = _delivery(click)
    await _pipeline(pool).process([delivery])
    async with pool.acquire() as connection:
        await connection.execute(
            "update links set code = 'soon' where id = $1", LINKS[0]
        )

    assert [delivery] == await _pipeline(pool, "another").process([delivery])

    assert (0, 0, 1) == await _ledger(pool)
    assert [(0,)] == await _rows(pool, "select count(*) from events")
    async with pool.acquire() as connection:
        assert [] == await miscounted(connection)


async def test_a_redriven_entry_is_no_longer_held(pool: Pool) -> None:
    click = a_click(1, link_id=None, workspace_id=None, namespaces=("-",), code="soon")
    delivery = _delivery(click)
    await _pipeline(pool).process([delivery])
    async with pool.acquire() as connection:
        await connection.execute(
            "update links set code = 'soon' where id = $1", LINKS[0]
        )
        await connection.execute("update quarantine set status = 'redriven'")

    await _pipeline(pool).process([delivery])

    assert [(1,)] == await _rows(pool, "select count(*) from events")


@pytest.mark.parametrize("seq", [2**31 + 5, 2**63 + 5, 2**64 - 1])
async def test_an_entry_of_any_number_has_its_place(pool: Pool, seq: int) -> None:
    junk, click = _delivery(b"junk", seq), _delivery(a_click(1), seq - 1)

    for _ in range(2):
        assert [junk, click] == await _pipeline(pool).process([junk, click])

    assert f"{NOON_MS}-{seq}" == junk.entry.stream_id
    assert (1, 0, 1) == await _ledger(pool)


# What Postgres refuses -------------------------------------------------------------------


async def test_what_postgres_refuses_to_look_up_is_found_too(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = known.look_up

    async def refusing(
        connection: asyncpg.Connection, envelopes: Sequence[Envelope]
    ) -> known.Known:
        if any(envelope.code == "poison" for envelope in envelopes):
            raise DataFault("22021", "invalid byte sequence")
        return await look_up(connection, envelopes)

    monkeypatch.setattr(known, "look_up", refusing)
    poison = a_click(9, link_id=None, namespaces=("-",), code="poison")

    await _record(pool, a_click(1), b"junk", poison, a_click(2))

    assert (2, 0, 2) == await _ledger(pool)
    assert [("undecodable",), ("unstorable",)] == await _rows(
        pool, "select reason::text from quarantine order by reason"
    )


async def test_an_event_of_a_detached_month_is_quarantined_alone(pool: Pool) -> None:
    await _record(pool, a_click(1))
    async with pool.acquire() as connection:
        await connection.execute("alter table events detach partition events_202503")
    later = NOON_MS + 60 * _DAY_MS

    await _record(pool, a_click(2), a_click(3, at=later))

    [(reason, detail)] = await _rows(
        pool, "select reason::text, detail from quarantine"
    )
    assert "unstorable" == reason
    assert "the partition events_202503 is detached" in detail
    assert [(an_id(3, later),)] == await _rows(pool, "select id from events")


async def test_a_mistake_of_ours_is_no_trouble(pool: Pool) -> None:
    with pytest.raises(asyncpg.InterfaceError, match="expects 1 argument"):
        async with transaction(pool) as connection:
            await connection.fetch("select $1::int", 1, 2)


async def test_a_connection_that_was_closed_is_trouble(pool: Pool) -> None:
    async def ask(*, first_close: bool) -> None:
        async with transaction(pool) as connection:
            if first_close:
                connection.terminate()
            await connection.fetch("select 1")

    with pytest.raises(Trouble, match="connection is closed"):
        await ask(first_close=True)
    pool.terminate()
    with pytest.raises(Trouble, match="pool is clos"):
        await ask(first_close=False)


# One visitor with very many clicks -------------------------------------------------------


async def _visited(pool: Pool, visits: int, leads: int) -> Envelope:
    """A root click with so many later clicks, and leads that name it."""
    root = a_click(1)
    await _record(
        pool,
        root,
        *(
            a_lead(
                2 + number,
                at=NOON_MS + _DAY_MS,
                click_id=root.id,
                link_id=LINKS[0],
                name=f"lead {number}",
            )
            for number in range(leads)
        ),
    )
    async with pool.acquire() as connection:
        await connection.execute(
            """
            insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch, shard,
                                entry_seq, entry_ms, workspace_id, link_id, program_id, partner_id, click_id, dialect)
            select (left(id::text, 24) || lpad(to_hex(1000000 + number), 12, '0'))::uuid,
                   at + number * interval '1 ms', 1, 'click', false, false, false, 1, 9, 0,
                   number, 0, workspace_id, link_id, program_id, partner_id, id, 'affitor'
              from events, generate_series(1, $2::int) as number
             where id = $1""",
            root.id,
            visits,
        )
        await connection.execute("analyze events")
    return root


async def _read(pool: Pool, root: Envelope, since_ms: int | None) -> int:
    """How many rows of `events` attributing the root's leads reads."""
    since = None if since_ms is None else moment(since_ms)
    async with pool.acquire() as connection:
        # A plan for these values, not one for all.
        await connection.execute("set plan_cache_mode = force_custom_plan")
        [[document]] = await connection.fetch(
            "explain (analyze, format json) "
            + statements("customers")["leads_attribution"],
            [root.id],
            since,
            DEFAULT_WINDOW_DAYS,
        )
    return _rows_of_events(orjson.loads(document)[0]["Plan"])


def _rows_of_events(plan: dict[str, Any]) -> int:
    own = 0
    if plan.get("Relation Name", "").startswith("events_"):
        seen = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        own = round(seen * plan["Actual Loops"])
    return own + sum(map(_rows_of_events, plan.get("Plans", ())))


async def test_a_lead_reads_few_of_its_visitors_clicks(pool: Pool) -> None:
    root = await _visited(pool, visits=20_000, leads=10)

    assert await _read(pool, root, None) < 200


async def test_a_click_reads_nothing_of_leads_before_it(pool: Pool) -> None:
    root = await _visited(pool, visits=20_000, leads=10)

    assert await _read(pool, root, NOON_MS + 2 * _DAY_MS) <= 20


async def test_a_click_that_its_lead_names_earns_it_though_clocks_say_it_came_later(
    pool: Pool,
) -> None:
    click = a_click(1, at=NOON_MS + 5)
    lead = a_lead(2, click_id=click.id, link_id=LINKS[0])

    await _record(pool, lead)
    await _record(pool, click)

    assert [(click.id,)] == await _rows(
        pool, "select attributed_id from events where id = $1", lead.id
    )


# Idempotency keys ------------------------------------------------------------------------


def _keyed(number: int, days: float, key: str = "k") -> Envelope:
    at = NOON_MS + round(days * _DAY_MS)
    return a_click(number, at=at, dedupe=Dedupe.of("affitor:click", key))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)])
async def test_within_thirty_days_a_key_is_one_event_in_any_order(
    pool: Pool, order: Sequence[int]
) -> None:
    events = [_keyed(number, days) for number, days in enumerate((0, 15, 29.9))]

    for place in order:
        await _record(pool, events[place])

    assert [(events[0].id,)] == await _rows(pool, "select id from events")
    assert [(moment(NOON_MS) + KEPT,)] == await _rows(
        pool, "select expires_at from claims"
    )


async def test_a_key_much_later_is_a_new_event(pool: Pool) -> None:
    first, again, later, later_again = (
        _keyed(1, 0),
        _keyed(2, 29),
        _keyed(3, 31),
        _keyed(4, 45),
    )

    await _record(pool, first)
    await _record(pool, again, later)
    await _record(pool, later_again)

    assert [(first.id,), (later.id,)] == await _rows(
        pool, "select id from events order by id"
    )
    assert [(again.id, first.id), (later_again.id, later.id)] == await _rows(
        pool, "select id, event_id from event_aliases order by id"
    )


async def test_leads_claim_for_good(pool: Pool) -> None:
    key = Dedupe.of("lead", "user", "sign up")

    await _record(pool, a_lead(1, dedupe=key))
    await _record(pool, a_lead(2, at=NOON_MS + 300 * _DAY_MS, dedupe=key))

    assert (1, 1, 0) == await _ledger(pool)


async def test_claims_that_expired_long_ago_are_swept(pool: Pool) -> None:
    await _record(pool, *(_keyed(number, 0, f"k{number}") for number in range(5)))
    await _record(pool, a_lead(9, dedupe=Dedupe.of("lead", "user")))
    async with pool.acquire() as connection:
        await connection.execute(
            "update claims set expires_at = now() - $1::interval"
            " where event_id = any($2)",
            timedelta(days=29),
            [an_id(0), an_id(1)],
        )

    swept = await sweep_claims(pool, at_once=2)

    assert 3 == swept
    assert [(an_id(0),), (an_id(1),), (an_id(9),)] == await _rows(
        pool, "select event_id from claims order by event_id"
    )


# Click ids that were issued without a directory ------------------------------------------


@pytest.mark.parametrize("is_lead_first", [True, False])
@pytest.mark.parametrize("external_id", ["mine", None])
@pytest.mark.parametrize("link_id", [None, NO_LINK])
async def test_a_click_of_another_workspace_stays_its_own(
    pool: Pool, link_id: UUID | None, external_id: str | None, *, is_lead_first: bool
) -> None:
    click = a_click(1, link_id=FOREIGN_LINK, workspace_id=ELSEWHERE)
    lead = a_lead(
        2,
        click_id=click.id,
        link_id=link_id,
        external_id=external_id,
        customer_email="a@x.example",
    )
    events = (lead, click) if is_lead_first else (click, lead)

    for event in events:
        await _record(pool, event)

    query = (
        "select id = $1, workspace_id, status::text, email, points_to from customers"
        " order by workspace_id"
    )
    assert [
        (False, WORKSPACE, "lead", "a@x.example", None),
        (True, ELSEWHERE, "click", None, None),
    ] == await _rows(pool, query, click.id)


@pytest.mark.parametrize("is_root_first", [True, False])
async def test_a_visitor_known_elsewhere_stays_there(
    pool: Pool, *, is_root_first: bool
) -> None:
    root = a_click(1, link_id=FOREIGN_LINK, workspace_id=ELSEWHERE)
    click = a_click(2, at=NOON_MS + 5, root_id=root.id)
    events = (root, click) if is_root_first else (click, root)

    for event in events:
        await _record(pool, event)

    assert [(root.id, ELSEWHERE)] == await _rows(
        pool, "select id, workspace_id from customers"
    )


async def test_a_click_of_ours_earns_a_lead_that_cannot_prove_it(pool: Pool) -> None:
    click = a_click(1)
    lead = a_lead(2, at=NOON_MS + 5, click_id=click.id, link_id=None, external_id=None)

    await _record(pool, lead)
    await _record(pool, click)

    assert [(click.id, LINKS[0])] == await _rows(
        pool, "select attributed_id, link_id from events where id = $1", lead.id
    )


# Codes of a workspace that only its key tells ---------------------------------------------


async def _own_code(pool: Pool, link: UUID, workspace_id: UUID) -> None:
    async with pool.acquire() as connection:
        await connection.execute(
            "update links set namespace = $2, code = 'own' where id = $1",
            link,
            workspace_namespace(workspace_id),
        )


async def test_a_code_is_looked_up_in_the_workspace_of_the_key(pool: Pool) -> None:
    await _own_code(pool, LINKS[1], WORKSPACE)
    await _own_code(pool, FOREIGN_LINK, ELSEWHERE)
    named = {
        "link_id": None,
        "workspace_id": None,
        "namespaces": (KEYS_NAMESPACE, "-"),
    }
    key = {"api_key_hashes": (KEY_HASH,)}

    await _record(
        pool,
        a_click(1, code="own", **named, **key),
        a_lead(2, code="own", external_id=None, **named, **key),
        a_click(3, code="L0", **named, **key),
        a_click(4, code="own", **named),
        a_click(5, code="own", **named | {"workspace_id": WORKSPACE}),
    )

    assert [
        (an_id(1), LINKS[1]),
        (an_id(2), LINKS[1]),
        (an_id(3), LINKS[0]),
        (an_id(5), LINKS[1]),
    ] == await _rows(pool, "select id, link_id from events order by id")
    assert [("unknown_link",)] == await _rows(
        pool, "select reason::text from quarantine"
    )


async def test_an_imported_click_id_is_its_workspaces(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into imported_clicks (workspace_id, token, click_id, link_id)"
            " values ($1, 'abc', $2, $3)",
            ELSEWHERE,
            an_id(1),
            FOREIGN_LINK,
        )
    hashed = {"workspace_id": None, "api_key_hashes": (KEY_HASH,)}

    await _record(pool, a_lead(2, foreign_click="abc", **hashed))
    await _record(pool, a_lead(3, foreign_click="abc", workspace_id=ELSEWHERE))

    assert [(an_id(3),)] == await _rows(pool, "select id from events")
    assert [("unknown_click",)] == await _rows(
        pool, "select reason::text from quarantine"
    )


# Customers, books ------------------------------------------------------------------------


async def test_a_sale_for_nothing_makes_nobody_a_customer(pool: Pool) -> None:
    await _record(pool, a_lead(1), a_sale(2, quantity=0, amount=0))

    assert [("lead",)] == await _rows(pool, "select status::text from customers")


async def test_texts_are_compared_by_code_point_whatever_the_database_sorts_by() -> (
    None
):
    # As `max` of Python compares them; no other collation is sure to exist here.
    learn = statements("customers")["customers_learn"]

    assert 6 == learn.count('collate "C"')


async def test_a_life_had_at_least_what_the_ledger_tells_of(pool: Pool) -> None:
    async with pool.acquire() as connection:
        epoch = await connection.fetchval(
            "insert into stream_epochs (shard, entries_added) values (0, 3) returning epoch"
        )
        other = await connection.fetchval(
            "insert into stream_epochs (shard, entries_added) values (1, 9) returning epoch"
        )
        await connection.executemany(
            "insert into ledger (epoch, shard, consumer, recorded, repeats, quarantined)"
            " values ($1, $2, $3, $4, 1, 1)",
            [(epoch, 0, "a", 2), (epoch, 0, "b", 1), (other, 1, "a", 4)],
        )

    found = await _rows(pool, operators("status")["epochs"])

    assert [(epoch, 0, 7), (other, 1, 9)] == found


async def test_what_gone_workers_counted_becomes_one_row(pool: Pool) -> None:
    for consumer in ("pod-1", "pod-2", "pod-3"):
        await _pipeline(pool, consumer).process(
            [_delivery(a_click(next(_ENTRIES))), _delivery(b"junk")]
        )

    folded = []
    for _ in range(2):
        async with pool.acquire() as connection:
            await connection.execute(
                "update ledger set counted_at = now() - interval '25 hours'"
                " where consumer <> 'pod-3'"
            )
        folded.append(await fold_ledger(pool))

    assert [2, 0] == folded
    assert [("", 2, 2), ("pod-3", 1, 1)] == await _rows(
        pool, "select consumer, recorded, quarantined from ledger order by consumer"
    )
    async with pool.acquire() as connection:
        assert [] == await miscounted(connection)


async def test_a_worker_that_comes_back_counts_again(pool: Pool) -> None:
    await _record(pool, a_click(1))
    async with pool.acquire() as connection:
        await connection.execute("update ledger set counted_at = '2025-01-01'")
    await fold_ledger(pool)

    await _record(pool, a_click(2))

    assert (2, 0, 0) == await _ledger(pool)
