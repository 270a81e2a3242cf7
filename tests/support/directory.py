"""A small directory in Postgres, and events that happen in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from ingest.contracts.envelope import Dedupe, Envelope, Kind
from scripts.services.observe.verify import COMPARISONS
from tests.support.envelopes import an_envelope
from workers.counters.rule import NAMES

#: When the events of tests happen, Unix ms: 2025-03-10, a month without a partition.
NOON_MS = 1_741_608_000_000

WORKSPACE, ELSEWHERE = UUID(int=1), UUID(int=2)
LAST_CLICK, FIRST_CLICK = UUID(int=0x11), UUID(int=0x12)
PARTNERS = (UUID(int=0x21), UUID(int=0x22))
#: Two links of two partners in a last-click program, two in a first-click one, one bare.
LINKS = tuple(UUID(int=0x30 + number) for number in range(5))
FOREIGN_LINK = UUID(int=0x40)
KEY_HASH, KEY = b"k" * 32, UUID(int=0x50)


async def furnish(connection: asyncpg.Connection) -> None:
    """Workspaces, programs, partners and links for events to happen on."""
    await connection.executemany(
        "insert into workspaces (id, name) values ($1, $2)",
        [(WORKSPACE, "here"), (ELSEWHERE, "elsewhere")],
    )
    await connection.executemany(
        "insert into programs (id, number, workspace_id, name, model) values ($1, $2, $3, $4, $5)",
        [
            (LAST_CLICK, 1, WORKSPACE, "last", "last_click"),
            (FIRST_CLICK, 2, WORKSPACE, "first", "first_click"),
        ],
    )
    await connection.executemany(
        "insert into partners (id, workspace_id, public_id, code) values ($1, $2, $3, $3)",
        [(partner, WORKSPACE, f"prt{partner.int}") for partner in PARTNERS],
    )
    placed = [
        (LINKS[0], LAST_CLICK, PARTNERS[0]),
        (LINKS[1], LAST_CLICK, PARTNERS[1]),
        (LINKS[2], FIRST_CLICK, PARTNERS[0]),
        (LINKS[3], FIRST_CLICK, PARTNERS[1]),
        (LINKS[4], None, None),
    ]
    await connection.executemany(
        "insert into links (id, workspace_id, public_id, namespace, code, program_id, partner_id)"
        " values ($1, $2, $3, '-', $3, $4, $5)",
        [
            (link, WORKSPACE, f"L{number}", program, partner)
            for number, (link, program, partner) in enumerate(placed)
        ],
    )
    await connection.execute(
        "insert into links (id, workspace_id, public_id, namespace, code)"
        " values ($1, $2, 'foreign', '-', 'foreign')",
        FOREIGN_LINK,
        ELSEWHERE,
    )
    await connection.execute(
        "insert into api_keys (id, workspace_id, key_hash, last_four, scopes)"
        " values ($1, $2, $3, 'kkkk', '{track}')",
        KEY,
        WORKSPACE,
        KEY_HASH,
    )


def an_id(number: int, at_ms: int = NOON_MS) -> UUID:
    """A UUIDv7 of a moment, told from its neighbours by a number."""
    return UUID(int=(at_ms << 80) | (7 << 76) | (2 << 62) | number)


def a_click(number: int, **changes: Any) -> Envelope:
    """A click on the first link, at noon unless told otherwise."""
    at = changes.pop("at", NOON_MS)
    values: dict[str, Any] = {
        "id": an_id(number, at),
        "kind": Kind.CLICK,
        "dialect": "affitor",
        "at": at,
        "workspace_id": WORKSPACE,
        "link_id": LINKS[0],
    }
    return an_envelope(**values | changes)


def a_lead(number: int, **changes: Any) -> Envelope:
    """A lead of nobody in particular, of an API key, at noon unless told otherwise."""
    at = changes.pop("at", NOON_MS)
    values: dict[str, Any] = {
        "id": an_id(number, at),
        "kind": Kind.LEAD,
        "dialect": "refport",
        "at": at,
        "workspace_id": WORKSPACE,
        "api_key_id": KEY,
        "name": "Sign Up",
        "external_id": "user",
    }
    return an_envelope(**values | changes)


def a_sale(number: int, **changes: Any) -> Envelope:
    """A sale of nobody in particular for 49.00 USD, at noon unless told otherwise."""
    values: dict[str, Any] = {
        "kind": Kind.SALE,
        "name": "Purchase",
        "amount": 4900,
        "currency": "USD",
    }
    return a_lead(number, **values | changes)


def sale_key(name: str) -> bytes:
    """The key of the sale of this name, by which refunds name it."""
    return Dedupe.of("sale", name).key


def a_refund(number: int, sale: str = "invoice", **changes: Any) -> Envelope:
    """A refund of all that is left of a sale, at noon unless told otherwise."""
    values: dict[str, Any] = {
        "kind": Kind.REFUND,
        "name": None,
        "external_id": None,
        "sale_key": sale_key(sale),
    }
    return a_lead(number, **values | changes)


@dataclass(frozen=True, slots=True)
class Books:
    """Everything that must not depend on the order or number of deliveries."""

    events: list[Mapping[str, Any]]
    customers: list[Mapping[str, Any]]
    links: list[Mapping[str, Any]]
    partners: list[Mapping[str, Any]]
    days: list[Mapping[str, Any]]
    link_amounts: list[Mapping[str, Any]]
    partner_amounts: list[Mapping[str, Any]]
    claims: list[Mapping[str, Any]]
    aliases: list[Mapping[str, Any]]


async def read_books(connection: asyncpg.Connection) -> Books:
    """The books as they stand; ids that the database's clients minted are left out."""

    async def rows(query: str) -> list[Mapping[str, Any]]:
        return [dict(record) for record in await connection.fetch(query)]

    return Books(
        events=await rows(
            """
            select e.id, e.at, e.digest, e.kind::text, e.is_test, e.is_bot, e.is_duplicate, e.is_unverified, e.quantity,
                   e.workspace_id, e.link_id, e.program_id, e.partner_id, e.click_id, e.attributed_id,
                   e.asked_program_id, e.name, e.amount, e.currency, e.sale_key, e.asked_amount, e.session, e.email_hash,
                   coalesce(c.external_id, c.id::text) as customer
              from events e left join customers c on c.id = e.customer_id
             order by e.id"""
        ),
        customers=await rows(
            """
            select coalesce(c.external_id, c.id::text) as customer, c.workspace_id, c.status::text,
                   c.keyed_status::text, c.seen_at, p.external_id as points_to, c.points_by_key,
                   c.is_bound_by_key, c.is_crowd,
                   c.name, c.name_at, c.name_by, c.email_sealed, c.email_hash, c.email_at, c.email_by
              from customers c left join customers p on p.id = c.points_to
             order by 1, 2"""
        ),
        links=await rows(
            "select id, unique_clicks, clicks, bot_clicks, duplicate_clicks, leads, unverified_leads,"
            " sales, refunds, last_clicked_at"
            " from links order by id"
        ),
        partners=await rows(
            "select * from (select program_id, partner_id, unique_clicks, clicks, bot_clicks, duplicate_clicks,"
            " leads, unverified_leads, sales, refunds from program_partners) as p"
            " where p.clicks + p.leads + p.unverified_leads + p.sales + p.refunds <> 0"
            " order by 1, 2"
        ),
        days=await rows(
            "select * from link_days where clicks + leads + unverified_leads + sales + refunds <> 0 order by link_id, day"
        ),
        link_amounts=await rows(
            "select * from link_amounts where amount <> 0 order by link_id, currency"
        ),
        partner_amounts=await rows(
            "select * from program_partner_amounts where amount <> 0 order by 1, 2, 3"
        ),
        claims=await rows(
            "select workspace_id, scope, key, event_id, is_keyless, at, digest from claims order by 1, 2, 3"
        ),
        aliases=await rows("select id, event_id from event_aliases order by id"),
    )


async def uncount_links(connection: asyncpg.Connection) -> None:
    """Take away what links have counted."""
    zeros = ", ".join(f"{name} = 0" for name in NAMES)
    await connection.execute(f"update links set {zeros}, last_clicked_at = null")  # noqa: S608 -- names of ours


async def miscounted(connection: asyncpg.Connection) -> list[Mapping[str, Any]]:
    """Counters, amounts and books that are not what the rows say, as `verify` finds them."""
    return [
        dict(row)
        for statement in COMPARISONS.values()
        for row in await connection.fetch(statement)
    ]
