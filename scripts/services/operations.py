"""The trail of acts: who asked for what, with what result, written with the act itself."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import orjson

from scripts.servers import Connection, rows
from scripts.sql import statements

_SQL: Final = statements("services/operations")
#: Characters of a text that is kept.
_LONGEST: Final = 200
_SECRET: Final = frozenset({"secret", "password"})


async def note(
    connection: Connection,
    *,
    who: str,
    workspace_id: UUID | None,
    what: str,
    arguments: Any,
    result: Any,
) -> int:
    """Write down an act that is done, in the transaction that does it; its number.

    Of a list only its length is kept, and secrets are not.
    """
    said = _document(arguments), _document(result)
    number: int = await connection.fetchval(
        _SQL["note"], who, workspace_id, what, *said
    )
    return number


async def begin(connection: Connection, *, who: str, what: str, arguments: Any) -> int:
    """Write down an act outside PostgreSQL before it is done, and commit; its number."""
    number: int = await connection.fetchval(
        _SQL["begin"], who, what, _document(arguments)
    )
    return number


async def end(
    connection: Connection, number: int, *, result: Any, has_failed: bool = False
) -> None:
    """Write down what became of an act that was begun."""
    state = "failed" if has_failed else "done"
    await connection.execute(_SQL["end"], number, state, _document(result))


async def pressed(connection: Connection, press: str, who: str) -> int | None:
    """The act that somebody's form with this random text was sent for before, if any.

    A request that sends it at the same time waits for the transaction.
    """
    await connection.execute(_SQL["alone"], press)
    known: int | None = await connection.fetchval(_SQL["pressed"], press, who)
    return known


async def listed(
    connection: Connection,
    before: int | None,
    limit: int = 100,
    *,
    who: str | None = None,
    what: str | None = None,
    state: str | None = None,
) -> list[dict[str, Any]]:
    """Acts, the latest first: those before a number, by parts of names, with a state."""
    return await rows(connection, _SQL["list"], before, limit, who, what, state)


async def one(connection: Connection, number: int) -> dict[str, Any] | None:
    """An act with its arguments and its result; None for an unknown number."""
    for found in await rows(connection, _SQL["one"], number):
        parts = {name: orjson.loads(found[name]) for name in ("arguments", "result")}
        return found | parts
    return None


def _document(value: Any) -> str:
    return orjson.dumps(_shortened(value), default=str).decode()


def _shortened(value: Any) -> Any:
    match value:
        case str():
            return value[:_LONGEST]
        case Mapping():
            return {
                name: _shortened(each)
                for name, each in value.items()
                if name not in _SECRET
            }
        case list():
            return {"count": len(value)}
        case _:
            return value
