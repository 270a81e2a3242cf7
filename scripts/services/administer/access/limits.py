"""Limits: requests a minute, as vendors document them, by default, or as operators set them."""

from itertools import chain
from typing import Any, Final
from uuid import UUID

from ingest.core.authorize import WRONG_KEYS
from ingest.dialects import DIALECTS
from ingest.dialects.batch import ROUTE
from ingest.dialects.spec.routes import Limit
from ingest.redirect.dialects import REDIRECTS
from scripts.errors import UsageProblem
from scripts.servers import Connection, rows
from scripts.services import parsers
from scripts.services.noun import Noun, NounFacts, NounField, Row, Table
from scripts.sql import statements

_SQL: Final = statements("services/administer/access/limits")
#: More than a process can answer, and far below what the column holds.
_MOST: Final = 10_000_000


def known_limits() -> dict[str, dict[str, Any]]:
    """The limits that there are, by name: whom each counts, how many it lets in, who says so."""
    routes = chain.from_iterable(
        dialect.endpoints for dialect in (*DIALECTS, *REDIRECTS)
    )
    of_routes = chain.from_iterable(route.limits for route in (*routes, ROUTE))
    return {
        limit.name: {
            "of": limit.by,
            "default": limit.per_minute,
            "source": _source(limit),
        }
        for limit in (*of_routes, WRONG_KEYS)
    }


def _source(limit: Limit) -> str | None:
    if limit.per_minute is None:
        return None
    return "vendor" if limit.is_documented else "default"


def _cleared(row: Row) -> str:
    default = f" ({row['default']} a minute)" if row["default"] else ""
    return f"{row['subject']} has no figure of its own{default}."


LIMITS: Final = Noun(
    "limits",
    """Requests a minute: a limit by its name, or one API key by its id.

    Vendors document some limits. Every other route has one by address (of IPv6 its /64) for
    requests without a valid API key; on a route that needs a key, one that you set counts
    every request. By workspace there is none until you set it.

    Limits of vendors and API keys, and all up to 100, hold over all edges together. Each edge
    counts the others by itself. Edges know a change within a second.
    """,
    """
    reftide limits list
    reftide limits set refport.key 1200
    reftide limits set affitor.click.workspace 60000
    reftide limits set 01890a5d-ac96-774b-bcce-b302099a8057 60
    reftide limits clear refport.key
    """,
    per_minute=NounField(parse=parsers.whole(1, _MOST)),
)


@LIMITS.action("", Table("subject of per_minute default source key"))
async def list_(connection: Connection) -> list[Row]:
    """List all limits, and whether the figure is the vendor's, our default or an operator's."""
    return await _limits(connection)


@LIMITS.action("SUBJECT", NounFacts("Limit {subject}"))
async def show(connection: Connection, subject: str) -> Row:
    """Show the limit SUBJECT: a limit's name, or an API key's id."""
    return await _the_limit(connection, await _the_subject(connection, subject))


@LIMITS.action(
    "SUBJECT PER_MINUTE", "{subject} is {per_minute} a minute, within a second."
)
async def set_(connection: Connection, subject: str, per_minute: int) -> Row:
    """Let PER_MINUTE requests in, in any 60 seconds.

    SUBJECT is a limit's name, or the id of an API key. A key's own limit holds for all
    that it sends, in every dialect, instead of theirs for any key.
    """
    subject = await _the_subject(connection, subject)
    await connection.execute(_SQL["set"], subject, per_minute)
    return await _the_limit(connection, subject)


@LIMITS.action("SUBJECT", _cleared)
async def clear(connection: Connection, subject: str) -> Row:
    """Go back to what the vendor documents, or to the default."""
    subject = _id_of(subject) or subject
    if await connection.fetchval(_SQL["clear"], subject) is None:
        # What is gone may still have had a limit; what is mistyped should be told.
        await _the_subject(connection, subject)
    return await _the_limit(connection, subject)


async def _the_subject(connection: Connection, subject: str) -> str:
    """As it is stored. Raises UsageProblem for what no limit can be for."""
    if subject in known_limits():
        return subject
    key_id = _id_of(subject)
    if key_id and await connection.fetchval(_SQL["key"], key_id) is not None:
        return key_id
    raise UsageProblem(
        f"{subject!r} is no limit's name, and no id of an API key that works.",
        "see `reftide limits list` and `reftide keys list`.",
    )


def _id_of(subject: str) -> str | None:
    try:
        return str(UUID(subject))
    except ValueError:
        return None


async def _the_limit(connection: Connection, subject: str) -> Row:
    found = await _limits(connection, subject)
    return next(row for row in found if row["subject"] == subject)


async def _limits(connection: Connection, *subjects: str) -> list[Row]:
    """Every limit: the dialects', those of these subjects, then what else is set."""
    known = known_limits()
    keys = [
        (subject, "key", None, None) for subject in subjects if subject not in known
    ]
    named = [(name, *limit.values()) for name, limit in known.items()]
    columns = zip(*named, *keys, strict=True)
    return await rows(connection, _SQL["list"], *map(list, columns))
