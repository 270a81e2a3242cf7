"""The schema: its text, and how it is applied to a database that may be in use.

Used by the commands that apply it, and by test fixtures.
"""

import asyncio
import random
from importlib.resources import files
from pathlib import Path
from typing import Final

import asyncpg

from scripts.output import Unreachable
from scripts.servers import Connection

#: Applying has to lock tables. Waiting for one of them, it holds others, and workers take
#: theirs in another order: whoever waits longer than this gives way. It is less than
#: PostgreSQL's `deadlock_timeout`, 1 s, after which a worker's batch might have to.
_LOCK_MS: Final = 300
_PAUSE_SECONDS: Final = 0.3
#: How long to try while others hold the locks.
_TRY_SECONDS: Final = 60.0

_IN_THE_WAY: Final = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)


def schema_text() -> str:
    """The whole schema; Unreachable where neither place has it."""
    # A wheel has it inside `workers`; a checkout at the top, beside the packages.
    places = (
        files("workers").joinpath("schema.sql"),
        Path(__file__).parents[1] / "schema.sql",
    )
    for place in places:
        if place.is_file():
            return place.read_text("utf-8")
    raise Unreachable("schema.sql is missing.", "install reftide again.")


async def apply_schema(connection: Connection, seconds: float = _TRY_SECONDS) -> None:
    """Apply the schema in one transaction, again until the tables' locks were free.

    Raises Unreachable where they were not for so many seconds.
    """
    loop, text = asyncio.get_running_loop(), schema_text()
    deadline = loop.time() + seconds
    while True:
        try:
            async with connection.transaction():
                await connection.execute(f"set local lock_timeout = {_LOCK_MS}")
                await connection.execute(text)
        except _IN_THE_WAY as error:
            if loop.time() > deadline:
                raise Unreachable(
                    f"Others hold locks on the tables for {seconds:.0f} s: {error}",
                    "end what runs for long in this database (see pg_stat_activity),"
                    " then try again; nothing has been changed.",
                ) from error
        else:
            return
        # Workers, and others that apply it, have to get through meanwhile.
        await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 -- spreads, hides nothing
