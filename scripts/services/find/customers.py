"""Customers: who they are, which clicks they are bound to, and what they did."""

from typing import Final

from ingest.contracts.directory import DEFAULT_WINDOW_DAYS
from scripts.servers import Connection, rows, single
from scripts.services import parsers
from scripts.services.administer.access.workspaces import filter_by
from scripts.services.find.events import EventFilter, page
from scripts.services.find.people import the_person, traces_of
from scripts.services.noun import Noun, NounFacts, NounField, Row, Table
from scripts.sql import statements

_SQL: Final = statements("services/find/customers")

_CLICKS: Final = Table(
    "clicked_at link program partner earns_until kind is_keyed is_outranked"
    " named_by click",
    "Its clicks, and the events that bound it to them",
)
_EVENTS: Final = Table("at kind link partner name is_test id", "Its latest events")

CUSTOMERS: Final = Noun(
    "customers",
    "Customers are whom leads and sales name; a visitor is one without an external id.",
    """
    reftide customers show user_123
    reftide customers show jane@example.com --workspace acme
    reftide events list --customer user_123 --kind sale
    """,
    customer=NounField(),
    limit=NounField("At most so many events.", parsers.whole(1, 1000), "N", default=20),
)


def _shown(row: Row) -> Row:
    """Without what is not so."""
    hidden = {name for name in ("is_shared", "has_email") if not row[name]}
    return {name: value for name, value in row.items() if name not in hidden}


@CUSTOMERS.action(
    "CUSTOMER --workspace --limit",
    NounFacts("Customer {id}", {"clicks": _CLICKS, "events": _EVENTS}, shown=_shown),
)
async def show(
    connection: Connection, customer: str, workspace: str | None, limit: int
) -> Row:
    """Show a customer by external id, id or e-mail address.

    Link, program and partner are those that the next sale would be attributed to.
    """
    owner = await filter_by(connection, workspace)
    person = await the_person(connection, customer, owner)
    who, traces = person.customer_id, await traces_of(connection, person)
    now = await connection.fetchval("select now()")
    found = await single(connection, _SQL["one"], who, now, DEFAULT_WINDOW_DAYS)
    clicks = await rows(
        connection, _SQL["bindings"], who, traces.clicks, DEFAULT_WINDOW_DAYS
    )
    latest = EventFilter(owner, people=traces)
    return found | {
        "clicks": clicks,
        "events": await page(connection, latest, limit, now),
    }
