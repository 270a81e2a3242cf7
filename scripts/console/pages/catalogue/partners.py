"""Partners: the list and the search, and the page of one of them."""

from collections.abc import Mapping
from typing import Any, Final

from scripts.console.pages.catalogue.links import SQL, listed, trail
from scripts.console.pages.choosing import NAMED, hiding, said_of, theirs
from scripts.console.protection import missing
from scripts.console.serving import Asked, OwnPage
from scripts.servers import Connection, rows
from scripts.services.administer.catalogue.milestones import awards
from scripts.services.administer.catalogue.partners import show
from scripts.services.noun import Row
from workers.counters.rule import NAMES

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
    by_email = asked.user.may("operator")
    return await listed(asked, "partners", said, said.get("q"), by_email)


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
