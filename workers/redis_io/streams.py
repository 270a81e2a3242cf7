"""A client for streams that have servers of their own.

It is the client of the Redis at home, and sends what concerns a shard to the server that has
the shard: commands by their key, which has the shard in its hash tag, and scripts by their first
key. A pipeline has keys of any servers and is no transaction across them.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, Protocol

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from typing_extensions import override

from ingest.contracts.placement.cluster import CLUSTERED, LIST_REMEDY, is_clustered
from ingest.contracts.placement.streams_url import (
    Placement,
    misplaced,
    place_of,
    without_secrets,
)
from ingest.contracts.stream import PLACE_KEY
from workers.redis_io.cluster import Cluster, ShardNode

_SHARD: Final = re.compile(r"\{rt:(\d+)\}")
#: Where the key of a command is that has it elsewhere than right behind its name; of scripts,
#: behind their number.
_SCRIPTS: Final = ("EVAL", "EVALSHA")
_READS: Final = ("XREADGROUP", "XREAD")
_STREAMS: Final = (b"STREAMS", "STREAMS")
_SCRIPT_KEY: Final = 3


class StreamServer(NamedTuple):
    """A server that has shards. `name` is for people; empty for the Redis at home."""

    name: str
    client: Redis
    shards: Sequence[int]
    #: What `PLACE_KEY` says on a server of a list.
    place: bytes | None = None

    @property
    def described(self) -> str:
        """Its name, and its shards if the name does not say them."""
        numbers = ", ".join(map(str, self.shards))
        if self.name.startswith("shard "):
            return self.name
        return f"{self.name}, which has shard{'s'[: len(self.shards) > 1]} {numbers}"


class StreamServerAway(RedisConnectionError):
    """A server of streams does not answer, or is none, or another one to others."""

    def __init__(self, server: StreamServer, problem: str) -> None:
        super().__init__(f"{server.described}: {problem}")
        self.server = server
        self.problem = problem


class StreamServerMisplaced(StreamServerAway):
    """A server answers, and is another one of the list to others."""


class StreamsRedis(Redis):
    """Sends what concerns a shard to its server, and all else home."""

    def __init__(
        self,
        home: Redis,
        servers: Sequence[StreamServer],
        *,
        patience: float | None = None,
    ) -> None:
        """It owns these clients. Each server has `patience` seconds for its first answer."""
        super().__init__(connection_pool=home.connection_pool)
        self._home = home
        self.servers = servers
        self._patience = patience
        self._known: set[str] = set()
        self._by_shard = {shard: each for each in servers for shard in each.shards}

    def server_of(self, arguments: Sequence[Any]) -> StreamServer | None:
        """The server that a command goes to; None: home."""
        found = _SHARD.match(_key(arguments))
        return self._by_shard.get(int(found[1])) if found else None

    @override
    async def execute_command(self, *args: Any, **options: Any) -> Any:
        server = self.server_of(args)
        if server is None:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        async with self.asking(server):
            return await server.client.execute_command(*args, **options)  # type: ignore[no-untyped-call]

    @override
    def pipeline(
        self, transaction: bool = True, shard_hint: str | None = None
    ) -> Pipeline:
        return _Pipeline(self, is_transaction=transaction)

    @override
    def register_script(self, script: Any) -> Any:
        return _Script(self, script)

    @asynccontextmanager
    async def asking(self, server: StreamServer) -> AsyncIterator[None]:
        """Name the server in what is raised for its sake.

        Raises StreamServerAway; with `patience`, StreamServerMisplaced before anything is asked
        of one that is another server to others.
        """
        try:
            if self._patience is not None and server.name not in self._known:
                async with asyncio.timeout(self._patience):
                    await _greet(server)
                self._known.add(server.name)
            yield
        except (
            RedisConnectionError,
            RedisTimeoutError,
            OSError,
            TimeoutError,
        ) as error:
            if isinstance(error, StreamServerAway):
                raise
            problem = str(error) or "no answer in time"
            raise StreamServerAway(server, problem) from error

    @override
    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        for server in self.servers:
            await server.client.aclose()
        await self._home.aclose(close_connection_pool)


async def _greet(server: StreamServer) -> None:
    if server.place is None:
        await server.client.ping()
        return
    if is_clustered(await server.client.info("server")):
        raise StreamServerAway(server, f"{CLUSTERED}: {LIST_REMEDY}")
    found = await server.client.get(PLACE_KEY)
    if found not in {None, server.place}:
        raise StreamServerMisplaced(server, misplaced(found, server.place))


class _Script(AsyncScript):
    """A script is loaded to the server that it is for."""

    @override
    async def __call__(
        self, keys: Any = None, args: Iterable[Any] | None = None, client: Any = None
    ) -> Any:
        redis: Any = client or self.registered_client
        keys, arguments = keys or [], args or []
        try:
            return await redis.evalsha(self.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return await redis.eval(self.script, len(keys), *keys, *arguments)


class _Pipeline(Pipeline):
    """Commands in one round trip to each server; those of one server in their order."""

    def __init__(self, redis: StreamsRedis, *, is_transaction: bool) -> None:
        pool, callbacks = redis.connection_pool, redis.response_callbacks
        super().__init__(pool, callbacks, is_transaction, None)
        self._redis = redis

    @override
    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        stack = [*self.command_stack]
        asked = [self._redis.server_of(arguments) for arguments, _ in stack]
        if not any(asked):
            return await super().execute(raise_on_error)
        if self.is_transaction or self.explicit_transaction:
            raise ResponseError("a transaction has keys of one server only")
        found: dict[int, Any] = {}
        # A server's name tells it from the others; home has none.
        for name in dict.fromkeys(each and each.name for each in asked):
            places = [
                at for at, each in enumerate(asked) if (each and each.name) == name
            ]
            replies = await self._ask(asked[places[0]], [stack[at] for at in places])
            found.update(zip(places, replies, strict=True))
        await self.reset()  # type: ignore[no-untyped-call]  # redis-py types none of it
        answers = [found[place] for place in range(len(stack))]
        wrong = (each for each in answers if isinstance(each, Exception))
        if raise_on_error and (error := next(wrong, None)):
            raise error
        return answers

    async def _ask(
        self, server: StreamServer | None, commands: Sequence[tuple[Any, Any]]
    ) -> Sequence[Any]:
        if server is None:
            return await _piped(Redis(connection_pool=self.connection_pool), commands)
        async with self._redis.asking(server):
            return await _piped(server.client, commands)


async def _piped(redis: Redis, commands: Sequence[tuple[Any, Any]]) -> Sequence[Any]:
    async with redis.pipeline(transaction=False) as pipe:
        for arguments, options in commands:
            pipe.execute_command(*arguments, **options)
        return await pipe.execute(raise_on_error=False)


def servers_of(redis: Redis, shards: Sequence[int]) -> Sequence[StreamServer]:
    """The servers that have these shards."""
    if not isinstance(redis, StreamsRedis):
        return [StreamServer("", redis, shards)]
    wanted = {*shards}
    found = [
        each._replace(shards=[shard for shard in each.shards if shard in wanted])
        for each in redis.servers
    ]
    return [each for each in found if each.shards]


async def nodes_of(servers: Sequence[StreamServer]) -> Sequence[StreamServer]:
    """The same, but for a cluster, whose nodes have several shards each.

    Raises redis-py's ConnectionError.
    """
    found: dict[str, StreamServer] = {}
    for server in servers:
        node = server.client.connection_pool.connection_kwargs.get("node")
        name, shards = server.name, server.shards
        if isinstance(node, ShardNode):
            host, port = await node.cluster.node_of(node.shard)
            name = f"{host}:{port}"
        if name in found:
            shards = [*found[name].shards, *shards]
        found[name] = server._replace(name=name, shards=shards)
    return [*found.values()]


class Connect(Protocol):
    """Makes a client of the server of a URL, or of a cluster's node."""

    def __call__(self, url: str, node: ShardNode | None = None) -> Redis: ...


def streams_redis(
    home: Redis,
    placement: Placement,
    connect: Connect,
    patience: float | None = None,
    *,
    has_places: bool = True,
) -> Redis:
    """A client of home and of the servers of the streams; `home` where those are there.

    Unless `has_places`, it does not matter which of a list a server is to others.
    """
    if not placement.servers.are_apart:
        return home
    found = stream_servers(placement, connect)
    if not has_places:
        found = [each._replace(place=None) for each in found]
    return StreamsRedis(home, found, patience=patience)


def stream_servers(placement: Placement, connect: Connect) -> Sequence[StreamServer]:
    """The servers of a list, or the nodes of a cluster by shard: a shard may move alone."""
    numbers, (urls, is_cluster) = placement.layout.numbers, placement.servers
    if not is_cluster:
        return [
            StreamServer(
                without_secrets(url),
                connect(url),
                numbers[at :: len(urls)],
                place_of(at, len(urls)),
            )
            for at, url in enumerate(urls)
        ]
    cluster = Cluster(urls)
    name = ",".join(map(without_secrets, urls))
    return [
        StreamServer(
            f"shard {shard} of {name}",
            connect(urls[0], ShardNode(cluster, shard)),
            [shard],
        )
        for shard in numbers
    ]


def _key(arguments: Sequence[Any]) -> str:
    """The key that decides where a command goes; empty if it has none."""
    name, *rest = arguments
    if name in _SCRIPTS:
        key = arguments[_SCRIPT_KEY] if int(arguments[2]) else ""
    elif name in _READS:
        at = next(at for at, word in enumerate(rest) if word in _STREAMS)
        key = rest[at + 1]
    else:
        key = rest[0] if rest else ""
    if isinstance(key, bytes):
        return key.decode("utf-8", "replace")
    return key if isinstance(key, str) else ""
