"""The seam with PostgreSQL: the pool, and asyncpg's exceptions named once.

Every wait is bounded here. Above this module there is `TransientError` (the database does not
answer: try again), `MissingPartition`, and `DataFault` (it refuses a value); anything else
is a bug and is allowed to be loud.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from workers.model.batch import TransientError
from workers.postgres import timestamps

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = (
        asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    )
else:
    Pool = asyncpg.Pool
    Connection = asyncpg.Connection | PoolConnectionProxy

_CONNECT_SECONDS: Final = 5.0
_ACQUIRE_SECONDS: Final = 5.0
_COMMAND_SECONDS: Final = 20.0

#: Of a worker, beside one for each shard: for each job, to sample figures, to spare.
_MORE_CONNECTIONS: Final = 7

#: What a server process of ours may never do for longer than this, in milliseconds.
SERVER_SETTINGS: Final = {
    "application_name": "reftide",
    "statement_timeout": "15000",
    "lock_timeout": "10000",
    "idle_in_transaction_session_timeout": "30000",
    "synchronous_commit": "on",
    # A worker looks rows up. Until a new table, or a new month's, has been analysed, the
    # planner believes that it is small, and would read all of it for every row it looks for.
    "enable_seqscan": "off",
    # Before PostgreSQL 18 a table that is read whole all the same passes for so costly that
    # its statement would be compiled each time; that takes longer than to run it.
    "jit": "off",
    "timezone": "UTC",
}

#: After these a connection is not used again: it may be in the middle of what was given up,
#: or its server is no primary any more, and the next connection finds the one that is.
_SPOILED: Final = (
    asyncio.CancelledError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.ReadOnlySQLTransactionError,
    OSError,
)

#: What asyncpg says of a connection or a pool that was closed while it was used, or of a
#: connection, which nobody shares, whose server died in the middle of a statement.
_CLOSED: Final = (
    "another operation is in progress",
    "connection is closed",
    "connection has been released back to the pool",
    "pool is closed",
    "pool is closing",
)

#: SQLSTATE classes and codes that mean: not now. 25P03 and 25P04: it lasted too long, since
#: this process stood still. 28, 3D000 and 55000 (no connections): whoever runs the server is at it.
_TRANSIENT: Final = (
    "08", "25006", "25P03", "25P04", "28", "3D000", "40", "53", "55000", "55006", "55P03", "57", "58",
)  # fmt: skip
#: SQLSTATE classes that mean: not this value. All others are bugs.
_DATA: Final = ("22", "23")


class DataFault(Exception):
    """Postgres, or asyncpg on its behalf, refuses a value; `code` is the SQLSTATE."""

    def __init__(self, code: str, message: str) -> None:
        """Carry the SQLSTATE and the first line of what Postgres said."""
        super().__init__(f"{code}: {message}")
        self.code = code


class ConcurrentInsert(TransientError):
    """Somebody else has put in one of the rows meanwhile: look again, and it is there."""


class MissingPartition(Exception):
    """No partition takes one of the rows: make it and try again."""


def pool_size(shards: int) -> int:
    """How many connections a worker may open."""
    return shards + _MORE_CONNECTIONS


@asynccontextmanager
async def open_pool(url: str, *, size: int) -> AsyncIterator[Pool]:
    """A pool of at most `size` connections. Raises TransientError where none can be made."""
    with mapped():
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            timeout=_CONNECT_SECONDS,
            command_timeout=_COMMAND_SECONDS,
            server_settings=SERVER_SETTINGS,
            init=timestamps.teach,
            # asyncpg ends what a connection was in the middle of; ours keeps nothing else
            # beyond a transaction, so that there is nothing to ask of the server.
            reset=_leave,
        )
    try:
        yield pool
    finally:
        pool.terminate()


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """A connection inside a transaction that commits where the block ends well."""
    async with borrowed(pool) as connection, connection.transaction():
        yield connection


@asynccontextmanager
async def borrowed(pool: Pool) -> AsyncIterator[Connection]:
    """A connection on which every statement stands for itself."""
    with mapped():
        connection = await pool.acquire(timeout=_ACQUIRE_SECONDS)
        try:
            yield connection
        except _SPOILED:
            # One that has closed already is not in our hands any more, and says so.
            with suppress(asyncpg.InterfaceError):
                connection.terminate()
            raise
        finally:
            await pool.release(connection, timeout=_ACQUIRE_SECONDS)


async def put(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    rows: Iterable[tuple[object, ...]],
    count: int,
) -> None:
    """Put in so many rows whose keys nobody has, by COPY.

    Three times as fast as an INSERT, which could look for the keys by itself.
    Raises ConcurrentInsert where somebody has one of the keys by now, DataFault where a value is not of
    its column's type; the transaction is lost.
    """
    try:
        done = await connection.copy_records_to_table(
            table, columns=columns, records=rows
        )
    except asyncpg.UniqueViolationError as error:
        raise ConcurrentInsert(str(error)) from error
    except (ValueError, OverflowError) as error:
        raise DataFault("22000", str(error)) from error
    # A month that is closed passes over a row that it has.
    if done != f"COPY {count}":
        raise ConcurrentInsert(f"{done} of {count} rows of {table}")


def array_of(numbers: Iterable[int]) -> str:
    """Whole numbers as PostgreSQL writes an array, for a statement that reads it as one.

    Of a list asyncpg asks every element whether it is a list too, which takes four times as
    long.
    """
    return "{" + str(list(numbers))[1:-1] + "}"


async def _leave(_connection: Connection) -> None:
    """Nothing to take back."""


@contextmanager
def mapped() -> Iterator[None]:
    """Give asyncpg's exceptions their names in our house."""
    try:
        yield
    except asyncpg.InvalidCachedStatementError as error:
        # The schema was upgraded; the next attempt prepares its statements anew.
        raise TransientError(f"{type(error).__name__}: {error}") from error
    except asyncpg.PostgresError as error:
        raise _named(error) from error
    except asyncpg.InterfaceError as error:
        # Its other meanings are mistakes of ours.
        if not any(words in str(error) for words in _CLOSED):
            raise
        raise TransientError(f"{type(error).__name__}: {error}") from error
    except (OSError, TimeoutError, asyncpg.InternalClientError) as error:
        raise TransientError(f"{type(error).__name__}: {error}") from error


def _named(error: asyncpg.PostgresError) -> Exception:
    code = error.sqlstate or ""
    message = (str(error).splitlines() or [""])[0]
    if code == "23514" and "no partition of relation" in message:
        return MissingPartition(message)
    if code.startswith(_TRANSIENT):
        return TransientError(f"{code} {message}")
    if code.startswith(_DATA):
        return DataFault(code, message)
    return error
