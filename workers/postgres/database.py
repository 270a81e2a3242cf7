"""The connection pool of PostgreSQL, and the translation of asyncpg's errors.

Every wait is bounded here. Callers see `TransientError` (the database does not answer: try
again), `MissingPartition`, and `DataFault` (it refuses a value); anything else is a bug.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from workers.model.batch import TransientError
from workers.postgres.pooler import (
    REFUSED_SETTING,
    REMEDY,
    SHARED_SESSION,
    session,
)

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

#: Connections beside one a shard: for jobs, for metrics, spare ones.
_MORE_CONNECTIONS: Final = 7

#: Session settings: timeouts in milliseconds, and the planner's.
SERVER_SETTINGS: Final = {
    "application_name": "reftide",
    "statement_timeout": "15000",
    "lock_timeout": "10000",
    "idle_in_transaction_session_timeout": "30000",
    "synchronous_commit": "on",
    # Workers look rows up by key. Until a new table or partition is analysed, the planner
    # takes it for small and would scan it for every row.
    "enable_seqscan": "off",
    # Before PostgreSQL 18 a remaining sequential scan counts as so costly that its statement
    # would be compiled each time, which takes longer than to run it.
    "jit": "off",
    "timezone": "UTC",
}

#: After these a connection is closed: it may still be executing, or its server is no longer
#: the primary, which a new connection will find.
_UNUSABLE: Final = (
    asyncio.CancelledError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.ReadOnlySQLTransactionError,
    OSError,
)

#: asyncpg's messages about a connection or pool that was closed during use, or whose server
#: died during a statement.
_CLOSED: Final = (
    "another operation is in progress",
    "connection is closed",
    "connection has been released back to the pool",
    "pool is closed",
    "pool is closing",
)

#: SQLSTATE classes and codes that mean: try again. 25P03 and 25P04: a timeout, since this
#: process was stalled. 28, 3D000, 42501 and 55000 (no connections): an administrator is at
#: work, or has to be.
_TRANSIENT: Final = (
    "08", "25006", "25P03", "25P04", "28", "3D000", "40", "42501", "53", "55000", "55006", "55P03", "57", "58",
)  # fmt: skip
#: SQLSTATE classes that mean: a value is refused. All others are bugs.
_DATA: Final = ("22", "23")


class DataFault(Exception):
    """PostgreSQL, or asyncpg, refuses a value; `code` is the SQLSTATE."""

    def __init__(self, code: str, message: str) -> None:
        """`message` is the first line of the server's message."""
        super().__init__(f"{code}: {message}")
        self.code = code


class ConcurrentInsert(TransientError):
    """Another transaction has inserted one of the rows meanwhile: read again."""


class MissingPartition(Exception):
    """One of the rows has no partition: create it and try again."""


def pool_size(shards: int) -> int:
    """The number of connections that a worker may open."""
    return shards + _MORE_CONNECTIONS


@asynccontextmanager
async def open_pool(
    url: str, *, size: int, is_pooled: bool = False
) -> AsyncIterator[Pool]:
    """A pool of at most `size` connections; `is_pooled`: to a pooler of transactions.

    Raises TransientError if it cannot connect.
    """
    with translate_errors():
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            timeout=_CONNECT_SECONDS,
            command_timeout=_COMMAND_SECONDS,
            init=register_codec,
            # Our sessions keep no state beyond a transaction, so a reset needs no statement.
            reset=keep_session,
            **session(SERVER_SETTINGS, is_pooled=is_pooled),
        )
    try:
        yield pool
    finally:
        pool.terminate()


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """A connection in a transaction, which commits if the block does not raise."""
    async with autocommit(pool) as connection, connection.transaction():
        yield connection


@asynccontextmanager
async def autocommit(pool: Pool) -> AsyncIterator[Connection]:
    """A connection on which every statement commits by itself."""
    with translate_errors():
        connection = await pool.acquire(timeout=_ACQUIRE_SECONDS)
        try:
            yield connection
        except _UNUSABLE:
            # A connection that is closed already raises.
            with suppress(asyncpg.InterfaceError):
                connection.terminate()
            raise
        finally:
            await pool.release(connection, timeout=_ACQUIRE_SECONDS)


async def fetch(pool: Pool, statement: str, *arguments: object) -> list[Any]:
    """The rows of one statement, which commits by itself. Raises TransientError."""
    async with autocommit(pool) as connection:
        return await connection.fetch(statement, *arguments)


async def execute_in_batches(
    pool: Pool, statement: str, batch: int, *arguments: object
) -> int:
    """Execute a statement until it changes fewer rows than a batch; how many it changed.

    Its first parameter is the size of a batch, and it gives back a count. Each batch is a
    transaction, to keep locks short. Raises TransientError.
    """
    total = count = 0
    while True:
        ((count,),) = await fetch(pool, statement, batch, *arguments)
        total += int(count)
        if count < batch:
            return total


async def copy_rows(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    rows: Iterable[tuple[object, ...]],
    count: int,
) -> None:
    """Insert `count` new rows by COPY, three times as fast as INSERT … ON CONFLICT.

    Raises ConcurrentInsert if one of the keys exists by now, DataFault if a value is not of
    its column's type; both fail the transaction.
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


def columns(rows: Iterable[Iterable[Any]]) -> list[list[Any]]:
    """Rows of equal length as columns; of no rows no columns."""
    return [list(column) for column in zip(*rows, strict=True)]


def array_literal(numbers: Iterable[int]) -> str:
    """Integers as a PostgreSQL array literal.

    asyncpg encodes a list four times as slowly, since it checks every element's type.
    """
    return "{" + str(list(numbers))[1:-1] + "}"


async def keep_session(_connection: Connection) -> None:
    """Do not reset the session."""


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate asyncpg's exceptions into those of this module."""
    try:
        yield
    except asyncpg.InvalidCachedStatementError as error:
        # The schema was upgraded; the next attempt prepares its statements again.
        raise TransientError(f"{type(error).__name__}: {error}") from error
    except SHARED_SESSION as error:
        raise TransientError(f"{error}: {REMEDY}") from error
    except asyncpg.PostgresError as error:
        raise _translated(error) from error
    except asyncpg.InterfaceError as error:
        # Other InterfaceErrors are bugs.
        if not any(words in str(error) for words in _CLOSED):
            raise
        raise TransientError(f"{type(error).__name__}: {error}") from error
    except (OSError, TimeoutError, asyncpg.InternalClientError) as error:
        raise TransientError(f"{type(error).__name__}: {error}") from error


def _translated(error: asyncpg.PostgresError) -> Exception:
    code = error.sqlstate or ""
    message = (str(error).splitlines() or [""])[0]
    if code == "23514" and "no partition of relation" in message:
        return MissingPartition(message)
    if code.startswith(_TRANSIENT):
        advice = f": {REMEDY}" if REFUSED_SETTING in message else ""
        return TransientError(f"{code} {message}{advice}")
    if code.startswith(_DATA):
        return DataFault(code, message)
    return error


#: PostgreSQL's epoch; it counts microseconds.
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


async def register_codec(connection: Any) -> None:
    """Use a codec for `timestamptz` that caches conversions, for aware and finite datetimes.

    asyncpg's own compares every value with both infinities and converts its time zone, which
    takes as long as all other columns of an event. A batch has few distinct times.
    """
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        encoder=_counted,
        decoder=_moment,
        format="tuple",
    )


@lru_cache(maxsize=4096)
def _counted(moment: datetime) -> tuple[int]:
    return ((moment - _EPOCH) // _MICROSECOND,)


def _moment(counted: tuple[int]) -> datetime:
    return _EPOCH + timedelta(microseconds=counted[0])


class Locks(NamedTuple):
    """Customers by their ids, and visits by their keys."""

    customers: frozenset[UUID] = frozenset()
    visits: frozenset[bytes] = frozenset()
    #: Leads that turned out not to be plain: they need the locks of all customers concerned.
    leads: frozenset[UUID] = frozenset()

    def union(self, other: Self) -> "Locks":
        return Locks(
            self.customers | other.customers,
            self.visits | other.visits,
            self.leads | other.leads,
        )


NO_LOCKS: Final = Locks()


class LockSetGrew(Exception):
    """Rows committed meanwhile concern more than is locked: begin again, locking this too."""

    def __init__(self, locks: Locks) -> None:
        """`locks` are to be taken from the start."""
        super().__init__(len(locks.customers), len(locks.visits))
        self.locks = locks
