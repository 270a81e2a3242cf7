"""Connections to the servers, and their exceptions named once.

Every wait is bounded. Above this module there is `Unreachable`; what else a server raises
is a bug and may be loud.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg
from redis.asyncio import Redis, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, OutOfMemoryError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ingest.contracts.placement.cluster import CLUSTERED, HOME_REMEDY, is_clustered
from ingest.contracts.placement.layout import Layout, mismatch
from ingest.contracts.stream import SHARDS_KEY
from ingest.redis_io.client import REDIS_ERRORS, ResetSafeConnection, is_refused
from scripts.environment import Environment
from scripts.errors import Failure, Unreachable
from scripts.tasks import end
from workers.postgres.pooler import REFUSED_SETTING, REMEDY, SHARED_SESSION, session
from workers.redis_io.cluster import ShardNode
from workers.redis_io.primary import pool_to
from workers.redis_io.streams import (
    StreamServerAway,
    StreamServerMisplaced,
    streams_redis,
)

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

_Answer = TypeVar("_Answer")


class RedisAway(Unreachable):
    """Redis cannot be reached, or not as it is."""


class StreamsAway(RedisAway):
    """One of several servers of streams cannot be used: `away` says which, and why."""

    def __init__(self, away: StreamServerAway) -> None:
        super().__init__(
            f"A server of STREAMS_URL cannot be used: {away}", streams_remedy(away)
        )
        self.away = away


class PostgresAway(Unreachable):
    """Likewise PostgreSQL."""


_CONNECT_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 2.0
_TURN_SECONDS: Final = 0.05
#: For statements that look up or change a few rows.
QUICK_SECONDS: Final = 20.0

_REDIS_FORM: Final = (
    "write it as redis://host:6379/0, rediss://…, unix:///path?db=0 or"
    " redis+sentinel://host:26379,host:26379/service?db=0."
)
_REDIS_AWAY: Final = (
    "check that it runs and that REDIS_URL is right; `reftide up` brings its own."
)
_REDIS_REFUSES: Final = (
    "correct the password or the database in REDIS_URL, or the rights of its user:"
    " scripts/deploy/redis.acl has those that are needed."
)
_POSTGRES_FORM: Final = "write it as postgresql://user:password@host:5432/database."

_ABSENT: Final = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedObjectError,
)
# Only redis-py's own: builtin errors inside the block can be Postgres'.
_REDIS_TROUBLE: Final = (
    NoPermissionError,
    RedisConnectionError,
    RedisTimeoutError,
    OutOfMemoryError,
    ReadOnlyError,
)
#: Others were in the way; what the transaction did is undone.
_IN_THE_WAY: Final = (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
#: Where more is known than that the server cannot be used.
_REMEDIES: Final[Mapping[type[BaseException], str]] = {
    asyncpg.InvalidCatalogNameError: (
        "create that database, for example with `createdb`, or name another in"
        " DATABASE_URL."
    ),
    asyncpg.InvalidAuthorizationSpecificationError: (
        "correct the user and the password in DATABASE_URL."
    ),
    asyncpg.InsufficientPrivilegeError: (
        "name the role in DATABASE_URL that owns the tables; before there are any, one"
        " that may create them: grant create on schema public to ROLE."
    ),
}
_UNREACHABLE: Final = (
    asyncpg.InsufficientPrivilegeError,
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,
)


@asynccontextmanager
async def postgres(
    environment: Environment,
    *,
    seconds: float = QUICK_SECONDS,
    patience: float = _CONNECT_SECONDS,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Connection]:
    """A connection on which no statement takes longer than so many seconds.

    `patience` is how many seconds it may take to connect. `settings` take the place of those that commands ask for. Raises Unreachable, also
    for what happens inside the block.
    """
    with postgres_named(environment):
        connection = await _connect(
            environment, patience, seconds, settings or _settings(seconds)
        )
        try:
            yield connection
        finally:
            await _close(connection)


def ask_postgres(
    environment: Environment,
    ask: Callable[[Connection], Awaitable[_Answer]],
    *,
    seconds: float = QUICK_SECONDS,
) -> _Answer:
    """What Postgres says, for a command that needs nothing else. Raises Unreachable."""

    async def asked() -> _Answer:
        async with postgres(environment, seconds=seconds) as connection:
            return await ask(connection)

    return asyncio.run(asked())


@asynccontextmanager
async def redis_server(
    environment: Environment,
    *,
    seconds: float = QUICK_SECONDS,
    patience: float = _CONNECT_SECONDS,
    checks_places: bool = True,
) -> AsyncIterator[Redis]:
    """A client that answers in bytes within `seconds`, the first time within `patience`.

    Unless `checks_places`, servers of a list may be other ones to others. Raises Unreachable, also from inside the block.
    """
    url = environment.redis_url()
    source = environment.source("REDIS_URL")
    placement = environment.placement()
    make = partial(_client, patience=patience, seconds=seconds)
    try:
        home = make(url)
    except ValueError as error:
        raise RedisAway(
            f"REDIS_URL is no URL of Redis: {error}", _REDIS_FORM
        ) from error
    try:
        made = streams_redis(home, placement, make, patience, has_places=checks_places)
        async with made as client:
            await _answers(home, patience)
            await _require_no_cluster(home, source)
            yield client
    except StreamServerAway as error:
        raise StreamsAway(error) from error
    except _REDIS_TROUBLE as error:
        raise RedisAway(
            f"Redis ({source}) cannot be used: {_said(error)}",
            _REDIS_REFUSES if is_refused(error) else _REDIS_AWAY,
        ) from error


def streams_remedy(away: StreamServerAway) -> str:
    """What to do about a server of streams that cannot be used."""
    if isinstance(away, StreamServerMisplaced):
        return "compare STREAMS_URL with that of the edges and workers."
    if isinstance(away.__cause__, Exception) and is_refused(away.__cause__):
        return (
            "correct the password or the database in STREAMS_URL, or the rights of its"
            " user: scripts/deploy/redis.acl has those that are needed."
        )
    return "check that it runs and that STREAMS_URL is right."


def _client(
    url: str, node: ShardNode | None = None, *, patience: float, seconds: float
) -> Redis:
    """Raises ValueError for what is no URL of Redis."""
    return Redis.from_pool(
        pool_to(
            url,
            connection=ResetSafeConnection,
            connect_within=patience,
            node=node,
            socket_timeout=seconds,
        )
    )


def beside(client: Redis, host: str, port: int) -> Redis:
    """A client of another server, by the rights and with the patience of this one."""
    pool = client.connection_pool
    shared = (
        "username", "password", "socket_timeout", "socket_connect_timeout",
        "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs",
        "ssl_check_hostname",
    )  # fmt: skip
    given = {
        name: pool.connection_kwargs[name]
        for name in shared
        if name in pool.connection_kwargs
    }
    is_ssl = issubclass(pool.connection_class, SSLConnection)
    return Redis(host=host, port=port, ssl=is_ssl, decode_responses=True, **given)


async def rows(
    connection: Connection, statement: str, *arguments: object
) -> list[dict[str, Any]]:
    """The rows of a statement by column name, fit for tables and documents."""
    return [dict(row) for row in await connection.fetch(statement, *arguments)]


async def single(
    connection: Connection, statement: str, *arguments: object
) -> dict[str, Any]:
    """The row of a statement that always has one."""
    (row,) = await rows(connection, statement, *arguments)
    return row


async def required(
    connection: Connection, missing: Failure, statement: str, *arguments: object
) -> dict[str, Any]:
    """The row of a statement; raises `missing` where it has none."""
    row = await connection.fetchrow(statement, *arguments)
    if row is None:
        raise missing
    return dict(row)


async def shard_numbers(environment: Environment, redis: Redis) -> tuple[int, ...]:
    """The shards of `shard_layout`. Raises Unreachable."""
    return (await shard_layout(environment, redis)).numbers


async def shard_layout(environment: Environment, redis: Redis) -> Layout:
    """The shards that the installation has, or would have at its first start.

    Raises Unreachable where they are elsewhere than this environment says.
    """
    wanted = environment.layout()
    known = await redis.get(SHARDS_KEY)
    if known is None or known == wanted.record:
        return wanted
    if environment.streams().are_apart or not known.isdigit():
        raise RedisAway(
            f"The streams are elsewhere: {mismatch(known, wanted.record)}.",
            "set STREAMS_URL and REFTIDE_SHARDS as for the edges and workers.",
        )
    return Layout.recorded(known)


async def _answers(client: Redis, seconds: float) -> None:
    """Wait for one that hangs no longer than for one that takes no connection."""

    async def ping() -> None:
        with suppress(NoPermissionError):  # is an answer too
            await client.ping()

    asked = asyncio.create_task(ping())
    try:
        # In turns: where processors are short, it is we who are late.
        for _ in range(ceil(seconds / _TURN_SECONDS)):
            await asyncio.wait([asked], timeout=_TURN_SECONDS)
            if asked.done():
                return asked.result()
    finally:
        with suppress(*REDIS_ERRORS):  # nobody waits for it any more
            await end(asked)
    raise RedisTimeoutError(f"no answer within {seconds:g} s")


async def _require_no_cluster(home: Redis, source: str) -> None:
    with suppress(NoPermissionError):  # `doctor` says which rights it lacks
        if is_clustered(await home.info("server")):
            raise RedisAway(
                f"Redis ({source}) cannot be used: {CLUSTERED}", HOME_REMEDY
            )


async def _connect(
    environment: Environment,
    patience: float,
    seconds: float,
    settings: Mapping[str, str],
) -> Connection:
    try:
        return await asyncpg.connect(
            environment.database_url(),
            timeout=patience,
            command_timeout=seconds,
            **session(settings, is_pooled=environment.is_pooled()),
        )
    except ValueError as error:
        raise PostgresAway(
            f"{environment.database_variable} is no URL of PostgreSQL.", _POSTGRES_FORM
        ) from error


def _settings(seconds: float) -> Mapping[str, str]:
    return {
        "application_name": "reftide",
        "statement_timeout": str(int(seconds * 1000)),
        "lock_timeout": "10000",
        # Parameters are filters, most of which are left out.
        "plan_cache_mode": "force_custom_plan",
        "timezone": "UTC",
    }


async def _close(connection: Connection) -> None:
    try:
        await connection.close(timeout=_CLOSE_SECONDS)
    except _UNREACHABLE:
        connection.terminate()


def _said(error: BaseException) -> str:
    # A timeout has no words of its own.
    return str(error) or "no answer in time"


@contextmanager
def postgres_named(environment: Environment) -> Iterator[None]:
    """Raise PostgresAway for what says that the server cannot be used."""
    name = environment.database_variable
    source = environment.source(name)
    try:
        yield
    except _ABSENT as error:
        raise PostgresAway(
            f"The database ({source}) lacks our tables, or has older ones: {error}",
            "run `reftide schema`.",
        ) from error
    except SHARED_SESSION as error:
        raise PostgresAway(
            f"Postgres ({source}) gives others our sessions: {error}", f"{REMEDY}."
        ) from error
    except asyncpg.QueryCanceledError as error:
        raise PostgresAway(
            f"Postgres ({source}) took too long: {error}", "try again when it is calm."
        ) from error
    except _IN_THE_WAY as error:
        raise PostgresAway(
            f"Others held in Postgres ({source}) what this needs: {error}",
            "try again: what was being done is undone.",
        ) from error
    except _UNREACHABLE as error:
        raise PostgresAway(
            f"Postgres ({source}) cannot be used: {_said(error)}", _remedy(error, name)
        ) from error


def _remedy(error: BaseException, name: str) -> str:
    if REFUSED_SETTING in str(error):
        return f"{REMEDY}."
    return next(
        (told for kind, told in _REMEDIES.items() if isinstance(error, kind)),
        f"check that it runs and that {name} is right; `reftide up` brings its own.",
    )
