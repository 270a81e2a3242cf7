"""Programs and milestones: the lists, and the page of a program."""

from collections.abc import Mapping
from typing import Any, Final

from scripts.console.pages.catalogue.links import ROWS, listed, trail
from scripts.console.pages.choosing import (
    NAMED,
    after_of,
    hiding,
    number_of,
    said_of,
    theirs,
    workspace_of,
)
from scripts.console.pages.forms import require_program
from scripts.console.serving import Asked, OwnPage
from scripts.servers import Connection
from scripts.services.administer.access.workspaces import visible
from scripts.services.administer.catalogue.milestones import awards
from scripts.services.administer.catalogue.milestones import list_ as milestones
from scripts.services.administer.catalogue.programs import show
from scripts.services.noun import Row
from workers.counters.rule import NAMES

_AWARDS: Final = 50
#: What a program's page lets people change, by the columns that say how it stands.
EDITED: Final = {
    "name": "name",
    "url": "url",
    "fallback_url": "fallback_url",
    "model": "model",
    "cookie_window": "cookie_window_days",
    "attribution_window": "attribution_window_days",
    "server_leads": "needs_server_lead",
    "stats": "has_stats",
}


async def the_program(asked: Asked, connection: Connection, name: str) -> Row:
    """A program by its number. Raises Refused for an unknown one, or one of others."""
    with hiding():
        found = await show(connection, number=number_of(name))
    theirs(asked, found["workspace_id"])
    return found


async def _read(asked: Asked) -> Mapping[str, Any]:
    said = said_of(asked.request.query, ("q", "workspace"))
    return await listed(asked, "programs", said, said.get("q"))


async def _read_one(asked: Asked) -> Mapping[str, Any]:
    async with asked.console.reads.connection() as connection:
        name = asked.request.match_info["name"]
        program = await the_program(asked, connection, name)
        named = program["workspace_id"], "program", str(program["number"])
        done = await trail(connection, *named)
    stands = {field: program[column] for field, column in EDITED.items()}
    return {
        "title": f"{program['number']} {program['name']}",
        "program": program,
        "counters": NAMES,
        "trail": done,
        "edited": {field: _written(value) for field, value in stands.items()},
    }


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value or "")


async def _read_milestones(asked: Asked) -> Mapping[str, Any]:
    said = said_of(asked.request.query, ("program", "workspace"))
    program = number_of(said["program"]) if "program" in said else None
    async with asked.console.reads.connection() as connection:
        known = await visible(connection, asked.user.workspaces)
        name = workspace_of(asked, known)
        await require_program(asked, connection, program)
        with hiding():
            found = await milestones(connection, program, name, ROWS, after_of(asked))
        earned = await awards(connection, program, None, name, _AWARDS)
    is_full, names = len(found) == ROWS, [*known]
    shown = {"rows": found, "awards": earned, "is_full": is_full}
    return {**shown, "said": said, "workspaces": names}


PAGES: Final = (
    OwnPage("links-programs", "Programs", _read, "programs"),
    OwnPage("links-program", "Program", _read_one, f"programs/{NAMED}"),
    OwnPage("links-milestones", "Milestones", _read_milestones, "milestones"),
)
