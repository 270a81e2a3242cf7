"""What pages read of PostgreSQL: by a small pool that can change nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import asyncpg

from scripts.environment import Environment
from scripts.servers import Connection, postgres_named
from workers.postgres.database import keep_session
from workers.postgres.pooler import session

if TYPE_CHECKING:
    _Pool = asyncpg.Pool[asyncpg.Record]
else:
    _Pool = asyncpg.Pool

_CONNECTIONS: Final = 4
_SECONDS: Final = 2.0
_SETTINGS: Final = {
    "application_name": "reftide console",
    "default_transaction_read_only": "on",
    "statement_timeout": str(int(_SECONDS * 1000)),
    "plan_cache_mode": "force_custom_plan",
    "timezone": "UTC",
}


class Reads:
    """Connections for reading; opened when they are needed."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._pool: _Pool | None = None

    async def open(self) -> None:
        """Connects to nothing yet."""
        self._pool = await asyncpg.create_pool(
            self._environment.database_url(),
            min_size=0,
            max_size=_CONNECTIONS,
            timeout=_SECONDS,
            command_timeout=_SECONDS,
            reset=keep_session,
            **session(_SETTINGS, is_pooled=self._environment.is_pooled()),
        )

    def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Raises Unreachable, also for what happens inside the block."""
        if self._pool is None:
            raise RuntimeError("the pool is not open")
        with postgres_named(self._environment):
            async with self._pool.acquire(timeout=_SECONDS) as connection:
                yield connection  # type: ignore[misc]
