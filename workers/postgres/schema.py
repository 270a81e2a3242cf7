"""The schema of this release, and whether a database has it."""

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

from ingest.contracts.checkups.checkup import Check
from workers.model.batch import TransientError
from workers.postgres.database import Pool, fetch
from workers.postgres.sql import statements

_SQL: Final = statements("postgres/checkup")

#: Of what is missing, so much is named.
_NAMED: Final = 5

_RELATION: Final = re.compile(r"^create (?:unique )?(table|index) if not exists (\w+)")
_ALTERED: Final = re.compile(r"^alter table (\w+)(.*?);", re.DOTALL | re.MULTILINE)
_ADDED: Final = re.compile(r"add column if not exists (\w+)")
_FUNCTION: Final = re.compile(
    r"^create or replace function (\w+)\(.*?\$\$(.*?)\$\$", re.DOTALL | re.MULTILINE
)


class SchemaObject(NamedTuple):
    """Something in a schema: of functions, `body` is the text between the dollars."""

    kind: str
    name: str
    body: str | None = None


def things_of(schema: str) -> set[SchemaObject]:
    """What a schema's text makes, but for what its tables had from their first day."""
    lines = schema.splitlines()
    relations = {
        SchemaObject(found[1], found[2])
        for line in lines
        if (found := _RELATION.match(line))
    }
    columns = {
        SchemaObject("column", f"{table}.{column}")
        for table, changes in _ALTERED.findall(schema)
        for column in _ADDED.findall(changes)
    }
    functions = {
        SchemaObject("function", *found) for found in _FUNCTION.findall(schema)
    }
    return relations | columns | functions


def schema_text() -> str:
    """The whole schema. Raises FileNotFoundError if the installation lacks it."""
    # A wheel has it inside `workers`; a checkout at the top, beside the packages.
    places = (
        files("workers").joinpath("schema.sql"),
        Path(__file__).parents[2] / "schema.sql",
    )
    for place in places:
        if place.is_file():
            return place.read_text("utf-8")
    raise FileNotFoundError("schema.sql is missing: install reftide again")


def check_schema(schema: str, catalog: Iterable[Mapping[str, str | None]]) -> Check:
    """Whether a database has all that this release's schema makes."""
    missing = {thing.name for thing in things_of(schema) - _present(catalog)}
    if not missing:
        return Check("Postgres", "schema version", "ok", "that of this release")
    found = f"lacks {_some(missing)}, or has another version of it"
    return Check("Postgres", "schema version", "wrong", found, "run `reftide schema`")


async def require_schema(pool: Pool) -> None:
    """Raise TransientError while the database lacks what statements of this release name.

    Functions may have another text, and indexes be others: those of a later release, whose
    schema is applied before its workers start.
    """
    present = {thing.name for thing in _present(await fetch(pool, _SQL["catalog"]))}
    wanted = things_of(schema_text())
    missing = {thing.name for thing in wanted if thing.kind != "index"} - present
    if missing:
        raise TransientError(
            f"the database lacks {_some(missing)}: run `reftide schema`"
        )


def _present(catalog: Iterable[Mapping[str, str | None]]) -> set[SchemaObject]:
    return {
        SchemaObject(str(row["kind"]), str(row["name"]), row["body"]) for row in catalog
    }


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return f"{', '.join(listed[:_NAMED])}{more}"
