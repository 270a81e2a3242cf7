"""Programs: what partners promote, and the terms that hold for it."""

from typing import Any, Final
from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid7

from ingest.contracts.directory import DEFAULT_WINDOW_DAYS
from scripts.errors import AlreadyExists, UsageProblem
from scripts.servers import Connection, required, rows
from scripts.services import parsers
from scripts.services.administer.access.workspaces import choose, listing
from scripts.services.noun import Noun, NounFacts, NounField, Row, Table
from scripts.sql import statements
from workers.counters.rule import NAMES

_SQL: Final = statements("services/administer/catalogue/programs")

_DAYS: Final = parsers.whole(1, 365)
#: In the order of the statement `set`.
_TERMS: Final = {
    "url": NounField("Where its links lead by default.", parsers.url),
    "model": NounField(
        "Which click earns a lead.", choices=("last_click", "first_click")
    ),
    "cookie_window": NounField("Days that a click id is kept.", _DAYS, "DAYS"),
    "attribution_window": NounField("Days that a click earns.", _DAYS, "DAYS"),
    "server_leads": NounField(
        "Take leads only from servers that show a key.", is_switch=True
    ),
    "stats": NounField("Let clients ask what partners' links brought.", is_switch=True),
    "fallback_url": NounField(
        "Where redirects lead whose link is off or over; '' for nowhere.",
        parsers.fallback_url,
        "URL",
    ),
}
_OPTIONS: Final = (
    "--url --fallback-url --model --cookie-window --attribution-window --server-leads"
    " --stats"
)
_PARTNERS: Final = Table(f"partner {' '.join(NAMES)} amounts", "Partners")

PROGRAMS: Final = Noun(
    "programs",
    "Programs are what partners promote. Clients know them by their number.",
    """
    reftide programs add "Summer sale" --url https://shop.example
    reftide programs set 1 --attribution-window 30 --model first_click
    reftide programs set 1 --server-leads --stats
    """,
    after=NounField("Go on behind this one.", parsers.program_number, "N"),
    name=NounField("A new name.", parsers.code),
    number=NounField("Its public number; the next by default.", parsers.program_number),
    **_TERMS,
)


async def the_program(connection: Connection, number: int) -> Row:
    """Raises UsageProblem for an unknown number."""
    unknown = UsageProblem(
        f"There is no program {number}.",
        "see `reftide programs list`, or make it: `reftide programs add NAME`.",
    )
    return await required(connection, unknown, _SQL["numbered"], number)


@PROGRAMS.action(
    f"NAME --number {_OPTIONS} --workspace",
    "Program {number} ({name}) made in workspace {workspace}.",
)
async def add(
    connection: Connection,
    name: str,
    *,
    number: int | None,
    workspace: str | None,
    program_id: UUID | None = None,
    **terms: Any,
) -> Row:
    """Make a program called NAME."""
    owner = await choose(connection, workspace)
    what = f"the name {name!r}" + (f" or the number {number}" if number else "")
    taken = AlreadyExists(
        f"A program in workspace {owner.name} has {what} already.",
        "see `reftide programs list`, or change it: `reftide programs set`.",
    )
    # What is not given is set to its default here, and stays in `set_`.
    new = (program_id or uuid7(), number, owner.id, name)
    made = await required(connection, taken, _SQL["add"], *new, DEFAULT_WINDOW_DAYS)
    if number is not None:
        await connection.execute(_SQL["pass"])
    return await set_(connection, made["number"], None, **terms)


list_ = listing(
    PROGRAMS,
    "--workspace --after",
    Table(
        "number name workspace url fallback_url model cookie_window_days attribution_window_days"
        " needs_server_lead has_stats"
    ),
    _SQL["list"],
)


@PROGRAMS.action("NUMBER", NounFacts("Program {number}", {"partners": _PARTNERS}))
async def show(connection: Connection, number: int) -> Row:
    """Show program NUMBER and what its partners brought (the first hundred)."""
    row = await the_program(connection, number)
    return row | {"partners": await rows(connection, _SQL["enrolments"], row["id"])}


@PROGRAMS.action(f"NUMBER | --name {_OPTIONS}", "Program {number} changed.")
async def set_(
    connection: Connection, number: int, name: str | None, **terms: Any
) -> Row:
    """Change program NUMBER; what is not given stays."""
    row = await the_program(connection, number)
    changes = (terms.get(term) for term in _TERMS)
    try:
        await connection.execute(_SQL["set"], row["id"], name, *changes)
    except asyncpg.UniqueViolationError as error:
        raise AlreadyExists(
            f"Another program of workspace {row['workspace']} is called {name!r}.",
            "choose another name.",
        ) from error
    return await the_program(connection, number)
