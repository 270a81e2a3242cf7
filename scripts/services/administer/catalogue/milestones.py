"""Milestones: what partners earn by the number of their leads."""

from typing import Final
from uuid import UUID

from uuid_utils.compat import uuid7

from scripts.errors import AlreadyExists
from scripts.servers import Connection, required, rows, single
from scripts.services import parsers
from scripts.services.administer.access.workspaces import filter_by
from scripts.services.administer.catalogue.programs import the_program
from scripts.services.noun import Noun, NounField, Row, Table
from scripts.sql import statements

_SQL: Final = statements("services/administer/catalogue/milestones")

MILESTONES: Final = Noun(
    "milestones",
    """A partner is awarded a milestone once, when it has brought enough leads.

    Clicks, sales and tests do not count. An award stays, also where a lead is attributed
    to another partner later.
    """,
    """
    reftide milestones add "Five friends" --program 1 --converts 5
    reftide milestones awards --program 1
    """,
    name=NounField(parse=parsers.code),
    converts=NounField("How many leads earn it.", parsers.whole(1, 2**31 - 1), "N"),
)


@MILESTONES.action(
    "NAME --program! --converts!",
    "Milestone {name} made: {converts} leads in program {program}.",
)
async def add(connection: Connection, name: str, program: int, converts: int) -> Row:
    """Make a milestone called NAME.

    Partners who have brought that many leads already earn it with their next one.
    """
    row = await the_program(connection, program)
    known = AlreadyExists(
        f"Program {program} has a milestone {name!r} already.",
        f"see `reftide milestones list --program {program}`.",
    )
    new = (uuid7(), row["id"], name, converts)
    made = await required(connection, known, _SQL["add"], *new)
    return await single(connection, _SQL["made"], made["id"])


@MILESTONES.action(
    "--program --workspace --limit --after",
    Table("program name converts awards workspace"),
)
async def list_(
    connection: Connection,
    program: int | None,
    workspace: str | None,
    limit: int,
    after: UUID | None,
) -> list[Row]:
    """List the milestones and how many partners have earned each."""
    owner = await filter_by(connection, workspace)
    if program is not None:
        await the_program(connection, program)
    return await rows(connection, _SQL["list"], owner, program, limit, after)


@MILESTONES.action(
    "--program --partner --workspace --limit",
    Table("awarded_at program milestone converts partner"),
)
async def awards(
    connection: Connection,
    program: int | None,
    partner: str | None,
    workspace: str | None,
    limit: int,
) -> list[Row]:
    """List who earned which milestone, the latest first."""
    owner = await filter_by(connection, workspace)
    if program is not None:
        await the_program(connection, program)
    return await rows(connection, _SQL["awards"], owner, program, partner, limit)
