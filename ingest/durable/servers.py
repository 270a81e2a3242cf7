"""The servers that have the streams, and which of them takes the events of which shard.

Each has one connection for appends and breakers of its own. While one of several takes no
events, those of its shards go to shards of the others: nothing depends on the shard of an event.
So they do while a cluster moves a shard, and once a shard is sealed.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

from redis.asyncio import Redis

from ingest.contracts.placement.layout import Layout
from ingest.contracts.placement.streams_url import StreamServers, without_secrets
from ingest.contracts.stream import FIELD, events_key
from ingest.contracts.variables import NO_REPLICAS, Replicas
from ingest.redis_io.client import RedisBreaker, breaker_of, connect
from ingest.redis_io.multiplexer import Multiplexer, packed
from ingest.redis_io.replicated import ReplicatedMultiplexer

#: Why a server takes no events whose streams are all sealed.
SEALED: Final = (
    "its streams are sealed, since the shards change: `reftide shards` says how; events wait"
    " here until this edge is started with the new settings"
)
_UNASKED: Final = "no server of streams was asked yet"
#: Beyond so many waiting entries of one server, events are spooled instead.
_PENDING: Final = 4_000


class Breakers(NamedTuple):
    """Open while Redis does not answer, and while it takes no writes.

    It takes a write that so many `replicas` confirm.
    """

    reach: RedisBreaker
    writes: RedisBreaker
    replicas: Replicas = NO_REPLICAS

    @property
    def problem(self) -> str | None:
        """Why it takes no events."""
        return self.reach.problem or self.writes.problem


class AppendServer:
    """One server, as appends see it."""

    def __init__(
        self, redis: Redis, shards: Sequence[int], breakers: Breakers, name: str = ""
    ) -> None:
        """`redis` bounds how long an answer may take, and sends nothing twice.

        `name` is for people, where there are several.
        """
        self.name = name
        self.shards = shards
        self.client = redis
        self.breakers = breakers
        replicas = breakers.replicas
        self.line = (
            ReplicatedMultiplexer(redis, pending=_PENDING, replicas=replicas)
            if replicas.count
            else Multiplexer(redis, pending=_PENDING)
        )


class AppendTarget(NamedTuple):
    """Where an entry goes: its shard, the command up to the payload's length, its server."""

    shard: int
    xadd: bytes
    line: Multiplexer
    server: AppendServer


class AppendServers:
    """All of them. `targets` is by the place of a shard in the layout, and always current."""

    def __init__(
        self, layout: Layout, servers: Sequence[AppendServer], home: Multiplexer
    ) -> None:
        """`home` asks the server that `SHARDS_KEY` is on."""
        self.layout = layout
        self.home = home
        self.servers: Sequence[AppendServer] = ()
        #: Open while none takes events.
        self.none_left = RedisBreaker()
        #: What replied that a shard is elsewhere in its cluster, or nowhere, by shard.
        self.misrouted: dict[int, str] = {}
        #: Shards whose streams take no more entries: those that are left have their events.
        self._sealed: frozenset[int] = frozenset()
        #: Shards that workers read no more. A fail-over may have taken their seal away.
        self._former: frozenset[int] = frozenset()
        #: Is called when there is one more of them.
        self.seek: Callable[[], None] = _do_nothing
        self._own: list[AppendTarget] = []
        self.targets: list[AppendTarget] = []
        self.assign(servers)

    def assign(self, servers: Sequence[AppendServer]) -> None:
        """Have these servers, which may have other shards than before."""
        for server in servers:
            if server not in self.servers:
                for breaker in (server.breakers.reach, server.breakers.writes):
                    breaker.watchers.append(self.route)
        self.servers = servers
        found = {shard: each for each in servers for shard in each.shards}
        self._own = [
            _target(shard, found[shard])
            for shard in self.layout.numbers
            if shard in found
        ]
        self.route()

    def route(self) -> None:
        """Send events to the servers that take them, by what their breakers say now."""
        used = self.in_use
        own = {
            target.shard: target
            for target in self._own
            if target.shard in used and self._is_able(target)
        }
        able = [*own.values()]
        if not able:
            problems = (each.breakers.problem for each in self.servers)
            said = next(filter(None, [*problems, *self.misrouted.values()]), None)
            said = said or (_UNASKED if used else SEALED)
            self.none_left.trip(said)
            if not self.targets:
                self.targets[:] = self._own
            return
        self.targets[:] = [
            own.get(shard) or able[place % len(able)]
            for place, shard in enumerate(self.layout.numbers)
        ]
        self.none_left.close()

    def misroute(self, server: AppendServer, shard: int, reply: str) -> None:
        """Note that a cluster has a shard of a server elsewhere, or nowhere at the moment."""
        if shard in server.shards and shard not in self.misrouted:
            self.misrouted[shard] = reply
            self.route()
            self.seek()

    def seal(self, server: AppendServer, shard: int) -> None:
        """Note that a stream of a server replied to be sealed."""
        if problem := self.note_sealed([shard], {shard}, server):
            server.breakers.writes.trip(problem)

    def note_sealed(
        self,
        asked: Collection[int],
        sealed: Collection[int],
        server: AppendServer | None = None,
    ) -> str | None:
        """Note which of those asked are sealed; why nothing can be appended if all are.

        Of `server`; else those asked are all of one.
        """
        found = self._sealed.difference(asked).union(sealed)
        if found or self._sealed:
            # Also where it was known: a breaker may have been closed since.
            self._sealed = found
            self.route()
        shards = asked if server is None else server.shards
        return SEALED if shards and self.in_use.isdisjoint(shards) else None

    def note_agreed(self, record: bytes | None) -> None:
        """Note which shards there are, as `SHARDS_KEY` has it: nobody reads others."""
        numbers = frozenset(self.layout.numbers)
        left = numbers
        if record is not None and (known := Layout.numbered(record)):
            left = numbers & known if self.layout.is_beside(record) else frozenset()
        if numbers - left != self._former:
            self._former = numbers - left
            self.route()

    @property
    def in_use(self) -> frozenset[int]:
        """The shards that take entries and are read, as far as is known."""
        return frozenset(self.layout.numbers) - self._sealed - self._former

    def _is_able(self, target: AppendTarget) -> bool:
        is_there = target.server.breakers.problem is None
        return is_there and target.shard not in self.misrouted

    @property
    def clients(self) -> Sequence[Redis]:
        """Of the servers."""
        return [each.client for each in self.servers]

    async def stop(self) -> None:
        """Return when everything that was asked has been answered."""
        lines = [self.home, *(server.line for server in self.servers)]
        for line in dict.fromkeys(lines):
            await line.stop()


def one_server(
    redis: Redis, layout: Layout, writes: RedisBreaker, replicas: Replicas = NO_REPLICAS
) -> AppendServers:
    """All shards where `REDIS_URL` leads; `writes` is opened when it takes no writes."""
    breakers = Breakers(breaker_of(redis) or RedisBreaker(), writes, replicas)
    server = AppendServer(redis, layout.numbers, breakers)
    return AppendServers(layout, [server], server.line)


def several_servers(
    streams: StreamServers,
    layout: Layout,
    home: Redis,
    replicas: Replicas = NO_REPLICAS,
) -> AppendServers:
    """The servers of a list, in its order, each with every so-manieth shard.

    Of a cluster, none yet. `home`: where `REDIS_URL` leads. Their clients are for the caller
    to close.
    """
    urls = () if streams.is_cluster else streams.urls
    servers = [
        server_at(url, layout.numbers[place :: len(urls)], replicas)
        for place, url in enumerate(urls)
    ]
    return AppendServers(layout, servers, home_line(home))


def server_at(
    url: str, shards: Sequence[int], replicas: Replicas = NO_REPLICAS
) -> AppendServer:
    """The server of a URL, with breakers of its own."""
    breakers = Breakers(RedisBreaker(), RedisBreaker(), replicas)
    client = connect(url, connections=1, breaker=breakers.reach)
    return AppendServer(client, shards, breakers, without_secrets(url))


def home_line(home: Redis) -> Multiplexer:
    """Asks the server that `SHARDS_KEY` is on."""
    return Multiplexer(home, pending=_PENDING)


def _do_nothing() -> None:
    """Servers of a list have the same shards for good."""


def _target(shard: int, server: AppendServer) -> AppendTarget:
    xadd = packed(("XADD", events_key(shard), "*", FIELD, b""))
    return AppendTarget(shard, xadd.removesuffix(b"0\r\n\r\n"), server.line, server)
