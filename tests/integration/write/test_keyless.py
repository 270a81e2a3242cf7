"""Leads without an API key: what anybody says never takes what a key vouches for.

Each attack is played in many orders of arrival, one event a batch.
"""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

from ingest.contracts.envelope import Dedupe, Envelope, Kind
from tests.support.directory import (
    LINKS,
    NOON_MS,
    a_click,
    a_lead,
    a_sale,
    miscounted,
    uncount_links,
)
from tests.support.workers.recording import record_later, rows_of, value_of
from workers.postgres.database import Pool

#: The attacker's link and the honest partner's, in one program.
THEIRS, OURS = LINKS[:2]
_TABLES = (
    "events, visits, customers, claims, event_aliases, repeats, ledger, link_days,"
    " program_partners, link_amounts, program_partner_amounts, directory_changes"
)
_MINUTE_MS = 60_000


def clicked(number: int, link: Any, minute: int) -> Envelope:
    return a_click(number, link_id=link, at=NOON_MS + minute * _MINUTE_MS)


def led(
    number: int, click: Envelope | None, who: str | None, minute: int, **changes: Any
) -> Envelope:
    """A lead without a key, as a browser sends it, unless told otherwise."""
    values: dict[str, Any] = {
        "at": NOON_MS + minute * _MINUTE_MS,
        "dialect": "affitor",
        "external_id": who,
        "api_key_id": None,
        "dedupe": Dedupe.of("lead", "affitor", who or str(click and click.id)),
    }
    if click:
        values |= {"click_id": click.id, "link_id": click.target.link_id}
    return a_lead(number, **values | changes)


def by_server(
    number: int, click: Envelope | None, who: str, minute: int, **changes: Any
) -> Envelope:
    key = led(0, None, who, 0).request.dedupe
    values = {"external_id": who, "dialect": "affitor", "dedupe": key}
    if click:
        values |= {"click_id": click.id, "link_id": click.target.link_id}
    at = NOON_MS + minute * _MINUTE_MS
    return a_lead(number, at=at, **values | changes)


def sold(number: int, who: str, minute: int) -> Envelope:
    return a_sale(number, at=NOON_MS + minute * _MINUTE_MS, external_id=who)


async def played(pool: Pool, events: Sequence[Envelope]) -> dict[str, Any]:
    """What links count after these events, each recorded in a batch of its own."""
    async with pool.acquire() as connection:
        await connection.execute(f"truncate {_TABLES}")
        await uncount_links(connection)
    for event in events:
        await record_later(pool, event)
    async with pool.acquire() as connection:
        assert [] == await miscounted(connection)
    query = "select leads, unverified_leads, sales from links where id = $1"
    found = {
        name: (await rows_of(pool, query, link))[0]
        for name, link in (("theirs", THEIRS), ("ours", OURS))
    }
    flag = "select coalesce(bool_or(is_unverified), false) from events"
    return found | {"unverified": await value_of(pool, flag)}


async def in_any_order(pool: Pool, *events: Envelope) -> dict[str, Any]:
    """The same, which no order of arrival changes: the reverse, and some others."""
    first = await played(pool, events)
    orders = list(permutations(events))
    for order in [orders[-1], *orders[:: -(-len(orders) // 10)]]:
        assert first == await played(pool, order), [str(each.kind) for each in order]
    return first


async def test_a_sale_is_not_stolen_by_a_lead_that_names_somebody_elses_customer(
    pool: Pool,
) -> None:
    bait, visit = clicked(1, THEIRS, 0), clicked(2, OURS, 10)
    found = await in_any_order(
        pool,
        bait,
        visit,
        led(3, bait, "victim", 1),
        by_server(4, visit, "victim", 20),
        sold(5, "victim", 30),
    )

    # The attacker's lead stands aside: its customer has one that a key vouches for.
    expected = {"theirs": (0, 1, 0), "ours": (1, 0, 1), "unverified": False}
    assert expected == found


async def test_nor_is_it_by_a_provisional_lead(pool: Pool) -> None:
    bait, visit = clicked(1, THEIRS, 0), clicked(2, OURS, 10)
    squat = led(3, bait, "victim", 11, kind=Kind.DEFERRED)
    found = await in_any_order(
        pool, bait, squat, by_server(4, visit, "victim", 20), sold(5, "victim", 30)
    )

    assert {"theirs": (0, 0, 0), "ours": (0, 0, 0), "unverified": False} == found
    await record_later(pool, visit)
    assert [(1, 0, 1)] == await rows_of(
        pool, "select leads, unverified_leads, sales from links where id = $1", OURS
    )


async def test_a_servers_lead_takes_the_counted_place_of_a_browsers(pool: Pool) -> None:
    visit = clicked(1, OURS, 0)
    for by_key in (by_server(3, visit, "ann", 9), by_server(3, None, "ann", 9)):
        found = await in_any_order(pool, visit, led(2, visit, "ann", 5), by_key)
        assert (1, 1, 0) == found["ours"]


async def test_what_a_browser_says_earns_a_sale_as_long_as_no_key_says_otherwise(
    pool: Pool,
) -> None:
    visit, other = clicked(1, OURS, 0), clicked(2, THEIRS, 1)
    told = (visit, led(3, visit, "ann", 5), sold(4, "ann", 9))

    found = await in_any_order(pool, *told)
    assert {"theirs": (0, 0, 0), "ours": (1, 0, 1), "unverified": True} == found

    found = await in_any_order(pool, *told, other, by_server(5, other, "ann", 6))
    assert {"theirs": (1, 0, 1), "ours": (0, 1, 0), "unverified": False} == found


async def test_one_click_brings_one_lead_however_many_customers_are_invented(
    pool: Pool,
) -> None:
    bait = clicked(1, THEIRS, 0)
    invented = [led(10 + n, bait, f"customer {n}", n) for n in range(200)]
    await played(pool, [bait])
    await record_later(pool, *invented[100:])
    await record_later(pool, *invented[:100])

    async with pool.acquire() as connection:
        assert [] == await miscounted(connection)
    query = "select leads, unverified_leads from links where id = $1"
    assert [(1, 199)] == await rows_of(pool, query, THEIRS)
    first = "select id from events where kind = 'lead' and not is_duplicate"
    assert [(invented[0].id,)] == await rows_of(pool, first)

    # Too many to be one visitor's: the click earns nothing of theirs.
    await record_later(pool, sold(300, "customer 7", 300))
    assert 0 == await value_of(pool, "select sales from links where id = $1", THEIRS)


async def test_the_earliest_of_several_counts_in_any_order(pool: Pool) -> None:
    visit = clicked(1, OURS, 0)
    names = ("ann", "bob", "cas")
    leads = [led(2 + n, visit, who, 9 - n) for n, who in enumerate(names)]

    assert (1, 2, 0) == (await in_any_order(pool, visit, *leads))["ours"]
    query = "select id from events where kind = 'lead' and not is_duplicate"
    assert [(leads[-1].id,)] == await rows_of(pool, query)


async def test_a_wrong_flag_is_found(pool: Pool) -> None:
    visit = clicked(1, OURS, 0)
    await played(pool, [visit, led(2, visit, "ann", 5), led(3, visit, "bob", 6)])
    await pool.execute("update events set is_duplicate = false where kind = 'lead'")

    async with pool.acquire() as connection:
        wrong = await miscounted(connection)
    [found] = [row for row in wrong if row["what"] == "lead"]
    assert (str(led(3, visit, "bob", 6).id), 1, 0) == tuple(
        found[name] for name in ("key", "expected", "found")
    )


async def test_a_lead_that_loses_its_claim_and_gets_a_key_at_once_leaves_once(
    pool: Pool,
) -> None:
    click = clicked(1, OURS, 0)
    late, early = led(3, click, "ann", 5), led(2, click, "ann", 4)
    await record_later(pool, click, late)

    # It loses the claim of leads without a key, and this attempt holds that of keyed ones.
    await record_later(pool, early, by_server(3, click, "ann", 5))

    async with pool.acquire() as connection:
        assert [] == await miscounted(connection)
