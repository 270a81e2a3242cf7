"""Locks that keep a command from running twice at once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from scripts.environment import Environment
from scripts.errors import UsageProblem
from scripts.servers import Connection, postgres

#: The connection waits for as long as the command works.
_PATIENT: Final = {
    "application_name": "reftide",
    "idle_in_transaction_session_timeout": "0",
    "timezone": "UTC",
}


@asynccontextmanager
async def alone(
    environment: Environment,
    statement: str,
    *arguments: object,
    otherwise: UsageProblem,
) -> AsyncIterator[Connection]:
    """Keep others off for the length of the block; raises `otherwise` if one is at work.

    `statement` takes a lock of its transaction and says whether it got it. The transaction
    has a connection of its own, on which nothing is read: a pooler gives sessions to others.
    Raises Unreachable, also if the connection ends before the block does.
    """
    async with (
        postgres(environment, settings=_PATIENT) as connection,
        connection.transaction(),
    ):
        if not await connection.fetchval(statement, *arguments):
            raise otherwise
        # Ends the portal of that statement, whose snapshot would hold up VACUUM and months.
        await connection.execute("select")
        yield connection
