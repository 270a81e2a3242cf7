"""Partners: the list and the search, and the page of one of them."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from scripts.console.pages.catalogue.links import SQL, trail
from scripts.console.pages.choosing import (
    NAMED,
    after_of,
    hiding,
    said_of,
    theirs,
    workspaces_of,
)
from scripts.console.protection import missing
from scripts.console.serving import Asked, OwnPage
from scripts.servers import Connection, rows
from scripts.services.administer.access.workspaces import visible
from scripts.services.administer.catalogue.milestones import awards
from scripts.services.administer.catalogue.partners import show
from scripts.services.noun import Row
from workers.counters.rule import NAMES

_ROWS: Final = 100
_LINKS: Final = 20
EDITED: Final = ("new_code", "name", "email", "image")


async def the_partner(asked: Asked, connection: Connection, name: str) -> Row:
    """A partner by its public id. Raises Refused for an unknown one, or one of others."""
    with hiding():
        found = await show(connection, code=name, workspace=None)
    theirs(asked, found["workspace_id"])
    if found["public_id"] != name:
        raise missing()
    return found


async def _read(asked: Asked) -> Mapping[str, Any]:
    said = said_of(asked.request.query, ("q", "workspace"))
    async with asked.console.reads.connection() as connection:
        owners, by_email = (
            await workspaces_of(asked, connection),
            asked.user.may("operator"),
        )
        asked_for = (owners, said.get("q"), by_email, after_of(asked), _ROWS)
        found = await rows(connection, SQL["partners"], *asked_for)
        known = await visible(connection, asked.user.workspaces)
    return {
        "rows": found,
        "said": said,
        "query": urlencode(said),
        "workspaces": [*known],
        "is_full": len(found) == _ROWS,
    }


async def _read_one(asked: Asked) -> Mapping[str, Any]:
    name = asked.request.match_info["name"]
    async with asked.console.reads.connection() as connection:
        partner = await the_partner(asked, connection, name)
        owner = partner["workspace_id"]
        filters: tuple[Any, ...] = ([owner], None, [], name, None, None, None, _LINKS)
        found = await rows(connection, SQL["links"], *filters)
        whose = {"partner": partner["code"], "workspace": partner["workspace"]}
        earned = await awards(connection, program=None, limit=_LINKS, **whose)
        done = await trail(connection, owner, "partner", name)
    # How to reach somebody is for those who act.
    if not asked.user.may("operator"):
        partner |= {"email": None, "image": None}
    shown = {**partner, "new_code": partner["code"]}
    return {
        "title": partner["name"] or partner["code"],
        "partner": partner,
        "counters": NAMES,
        "links": found,
        "awards": earned,
        "trail": done,
        "edited": {each: str(shown[each] or "") for each in EDITED},
        "is_full": len(found) == _LINKS,
    }


PAGES: Final = (
    OwnPage("links-partners", "Partners", _read, "partners"),
    OwnPage("links-partner", "Partner", _read_one, f"partners/{NAMED}"),
)
