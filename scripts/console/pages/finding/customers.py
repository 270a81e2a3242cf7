"""The page of a customer: which clicks it is bound to, and what it did."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from aiohttp import web

from scripts.console.pages.choosing import UUID_ID, id_of
from scripts.console.protection import missing
from scripts.console.rendering import BASE
from scripts.console.serving import Asked, OwnPage
from scripts.errors import UsageProblem
from scripts.services.administer.access.workspaces import visible
from scripts.services.find.customers import show
from scripts.services.noun import Row

_ROWS: Final = 50


async def _read(asked: Asked) -> Mapping[str, Any]:
    customer = id_of(asked)
    found = await _customer(asked, str(customer))
    if found["id"] != customer:
        # A visitor became it, or another customer calls itself by this id.
        raise web.HTTPSeeOther(f"{BASE}/customers/{found['id']}")
    may_see = asked.user.may("operator")
    if not may_see:
        events = [{**each, "customer": None} for each in found["events"]]
        found |= {"external_id": None, "name": None, "events": events}
    return {
        "title": found["external_id"] or "Customer",
        "customer": found,
        "may_see": may_see,
    }


async def _customer(asked: Asked, name: str) -> Row:
    """Raises Refused for an unknown customer, or one of others."""
    async with asked.console.reads.connection() as connection:
        is_limited = asked.user.workspaces is not None
        names = await visible(connection, asked.user.workspaces)
        for owner in names if is_limited else (None,):
            with suppress(UsageProblem):
                return await show(
                    connection, customer=name, workspace=owner, limit=_ROWS
                )
    raise missing()


PAGES: Final = (OwnPage("events-customer", "Customer", _read, f"customers/{UUID_ID}"),)
