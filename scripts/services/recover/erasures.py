"""Erasures and how far they are: a row each, which workers finish."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import orjson

from scripts.errors import UsageProblem
from scripts.servers import Connection, required, rows
from scripts.services import parsers
from scripts.services.noun import Noun, NounFacts, NounField, Row, Table
from scripts.sql import statements

_SQL: Final = statements("services/recover/erase")


def _with_tables(row: Row) -> Row:
    left = [{"table": name, "events": count} for name, count in row["detached"].items()]
    return row | {"detached": left}


ERASURES: Final = Noun(
    "erasures",
    "Follow erasures: `reftide erase` starts them, workers finish what has to wait.",
    """
    reftide erasures list
    reftide erasures show 01890a5d-ac96-774b-bcce-b302099a8057
    """,
    erasure_id=NounField("", parsers.uuid, "ID"),
    limit=NounField("At most so many.", parsers.whole(1, 10_000), "N", default=20),
)
_INNER: Final = {
    "archives": Table("host directory is_current lines swept_at", "Archives"),
    "detached": Table("table events", "Events in detached tables"),
}


@ERASURES.action(
    "--limit",
    Table("id workspace customer_id events state asked_at who note", key="erasures"),
)
async def list_(connection: Connection, limit: int) -> list[Row]:
    """List erasures, newest first. State: `rows`, then `streams`, then `done`."""
    return await rows(connection, _SQL["list"], limit)


@ERASURES.action("ERASURE_ID", NounFacts("Erasure {id}", _INNER, shown=_with_tables))
async def show(connection: Connection, erasure_id: UUID) -> Row:
    """Show an erasure: what it found, what is left, and which archives are rewritten."""
    unknown = UsageProblem(
        f"There is no erasure {erasure_id}.", "see `reftide erasures list`."
    )
    known = await required(connection, unknown, _SQL["one"], erasure_id)
    customers, clicks = known.pop("customers"), known.pop("clicks")
    counts: Mapping[str, int] = orjson.loads(known.pop("counts"))
    return {
        **known,
        **counts,
        "archives": await rows(connection, _SQL["archives"]),
        "detached": await detached(connection, customers, clicks),
    }


async def detached(
    connection: Connection, customers: Sequence[UUID], clicks: Sequence[UUID]
) -> dict[str, int]:
    """How many of the events each detached table has; those are not changed."""
    found: dict[str, int] = {}
    for row in await rows(connection, _SQL["detached"]):
        table: str = row["relname"]
        count = await connection.fetchval(_count_in(table), customers, clicks)
        if count:
            found[table] = count
    return found


def _count_in(table: str) -> str:
    """The statement that counts a person's events in a table of events."""
    return (
        f'select count(*) from "{table}" where customer_id = any($1::uuid[])'  # noqa: S608 -- the catalogue's own name
        " or kind = 'click' and (id = any($2::uuid[]) or click_id = any($2::uuid[]))"
    )
