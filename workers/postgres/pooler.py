"""Sessions of PostgreSQL, directly or through a pooler in transaction mode.

Such a pooler (PgBouncer and the like) gives each transaction any of its connections. So a
statement has no name there, and each transaction sets for itself what a session is set to.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final

import asyncpg
from typing_extensions import override

if TYPE_CHECKING:
    _Base = asyncpg.Connection[asyncpg.Record]
else:
    _Base = asyncpg.Connection

#: What poolers keep for a client, and set on whichever connection it gets.
_KEPT: Final = ("application_name", "timezone")
#: The default is for transactions that begin later.
_OF_TRANSACTIONS: Final = {"default_transaction_read_only": "transaction_read_only"}
#: PostgreSQL refuses these in a transaction.
_OUTSIDE: Final = re.compile(r"\bconcurrently\s*$")

_MOST_DESCRIBED: Final = 500

#: What PostgreSQL says of sessions that turn out to be shared: the names of statements.
SHARED_SESSION: Final = (
    asyncpg.DuplicatePreparedStatementError,
    asyncpg.InvalidSQLStatementNameError,
)
#: What PgBouncer says of settings that it cannot keep for a client.
REFUSED_SETTING: Final = "unsupported startup parameter"
REMEDY: Final = (
    "a pooler in transaction mode needs REFTIDE_POOLER=transaction here, and with workers,"
    " commands and the console"
)


def session(settings: Mapping[str, str], *, is_pooled: bool) -> dict[str, Any]:
    """What asyncpg's `connect` and `create_pool` take for sessions with these settings."""
    if not is_pooled:
        return {"server_settings": dict(settings)}
    kept = {name: settings[name] for name in _KEPT if name in settings}
    local = {
        _OF_TRANSACTIONS.get(name, name): value
        for name, value in settings.items()
        if name not in kept
    }
    return {
        "server_settings": kept,
        "statement_cache_size": 0,
        "connection_class": type("Pooled", (_Pooled,), {"settings": _set_local(local)}),
    }


def _set_local(settings: Mapping[str, str]) -> str:
    return " ".join(f"set local {name} = '{text}';" for name, text in settings.items())


class _Pooled(_Base):
    """Names no statement, and begins each transaction with `settings`.

    Statements outside a transaction get one of their own.
    """

    settings: ClassVar[str] = ""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._described: dict[tuple[Any, ...], Any] = {}

    @override
    async def execute(
        self, query: str, *args: object, timeout: float | None = None
    ) -> str:
        if query.startswith("BEGIN") and not args:
            # asyncpg's own, of `transaction()`: the settings come in the same round trip.
            return await super().execute(f"{query} {self.settings}", timeout=timeout)
        if _OUTSIDE.search(query):
            return await super().execute(query, *args, timeout=timeout)
        async with self._within_transaction():
            return await super().execute(query, *args, timeout=timeout)

    @override
    async def executemany(self, *args: Any, **more: Any) -> None:
        async with self._within_transaction():
            await super().executemany(*args, **more)

    @override
    async def fetch(self, *args: Any, **more: Any) -> Any:
        async with self._within_transaction():
            return await super().fetch(*args, **more)

    @override
    async def fetchval(self, *args: Any, **more: Any) -> Any:
        async with self._within_transaction():
            return await super().fetchval(*args, **more)

    @override
    async def fetchrow(self, *args: Any, **more: Any) -> Any:
        async with self._within_transaction():
            return await super().fetchrow(*args, **more)

    @asynccontextmanager
    async def _within_transaction(self) -> AsyncIterator[None]:
        if self.is_in_transaction():
            yield
            return
        async with self.transaction():
            yield

    async def _get_statement(
        self, query: str, *timeout: float | None, **more: Any
    ) -> Any:
        """Where asyncpg names statements: also those of cursors and of COPY.

        What a statement takes and gives back is asked of the server once; its text is sent
        with the values each time.
        """
        key = (query, more.get("record_class"), more.get("ignore_custom_codec"))
        found = self._described.get(key)
        if found is None:
            unnamed = {**more, "named": "", "use_cache": False}
            if len(self._described) >= _MOST_DESCRIBED:
                self._described.clear()
            found = await super()._get_statement(query, *timeout, **unnamed)  # type: ignore[misc]
            self._described[key] = found
        found.mark_unprepared()
        return found
