"""Whether a database has the schema of this release.

Pure: texts and catalogs go in, findings come out.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from ingest.contracts.checkups.checkup import Check

#: Of what is missing, so much is named.
_NAMED: Final = 5

_RELATION: Final = re.compile(
    r"^create (?:table|(?:unique )?index) if not exists (\w+)"
)
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
        SchemaObject("relation", found[1])
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


def check_schema(schema: str, catalog: Iterable[Mapping[str, str | None]]) -> Check:
    """Whether a database has all that this release's schema makes."""
    present = {
        SchemaObject(str(row["kind"]), str(row["name"]), row["body"]) for row in catalog
    }
    missing = sorted({thing.name for thing in things_of(schema) - present})
    if not missing:
        return Check("Postgres", "schema version", "ok", "that of this release")
    named = ", ".join(missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    found = f"lacks {named}{more}, or has another version of it"
    return Check("Postgres", "schema version", "wrong", found, "run `reftide schema`")
