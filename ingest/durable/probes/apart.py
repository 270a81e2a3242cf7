"""The streams' own servers, as an edge follows them: their probes, and what becomes of a cluster."""

import asyncio
from collections.abc import Sequence
from functools import partial

from redis.asyncio import Redis

from ingest.contracts.placement.layout import Layout
from ingest.contracts.placement.streams_url import StreamServers, place_of
from ingest.contracts.variables import Replicas
from ingest.durable.probes.cluster import ClusterWatch, SlotSource
from ingest.durable.probes.server_probe import ServerProbes, Watched
from ingest.durable.servers import (
    AppendServer,
    AppendServers,
    Breakers,
    server_at,
    several_servers,
)
from ingest.redis_io.client import RedisBreaker, connect
from ingest.redis_io.replicated import patience


def breakers_of(servers: AppendServers, streams: StreamServers) -> Breakers:
    """Those that are open while no event can be appended."""
    if len(servers.servers) == 1 and not streams.is_cluster:
        return servers.servers[0].breakers
    return Breakers(servers.none_left, RedisBreaker())


async def reached_servers(
    streams: StreamServers, layout: Layout, home: Redis, replicas: Replicas
) -> AppendServers:
    """The servers for somebody who is there for a moment, and probes none."""
    servers = several_servers(streams, layout, home, replicas)
    if streams.is_cluster:
        source = SlotSource(streams.urls)
        connected = partial(server_at, replicas=replicas)
        await ClusterWatch(source, servers, connected).look()
        await source.close()
    return servers


class StreamsApart:
    """Servers that only streams are on."""

    def __init__(
        self, streams: StreamServers, watched: Watched, replicas: Replicas
    ) -> None:
        """Unconnected."""
        self._streams = streams
        self._watched = watched
        self._replicas = replicas
        self._probes = ServerProbes(watched)
        self.note_home = watched.pressures.note_home
        self.away = self._probes.away
        servers = watched.servers
        self._cluster: ClusterWatch | None = None
        self._following: asyncio.Task[None] | None = None
        if streams.is_cluster:
            source = SlotSource(streams.urls)
            self._cluster = ClusterWatch(source, servers, self._connected)
        for place, (url, server) in enumerate(
            zip(streams.urls, servers.servers, strict=False)
        ):
            self._probe(url, server, place_of(place, len(streams.urls)))

    def start(self, name: str) -> None:
        """For the edge of this name."""
        self._probes.start(name)
        if self._cluster is not None:
            self._following = asyncio.create_task(self._cluster.run(self._leave))

    async def stop(self) -> None:
        """Return after the current probes."""
        if self._cluster is not None and self._following is not None:
            self._cluster.stop()
            await asyncio.wait([self._following])
        await self._probes.stop()

    def _connected(self, url: str, shards: Sequence[int]) -> AppendServer:
        server = server_at(url, shards, self._replicas)
        self._probe(url, server, None)
        return server

    def _probe(self, url: str, server: AppendServer, place: bytes | None) -> None:
        # Nobody waits for the probe's connection, which replicas may hold up.
        client = connect(url, connections=1, answer_within=patience(self._replicas))
        self._probes.add(client, server, place)

    async def _leave(self, server: AppendServer) -> None:
        await self._probes.remove(server)
        await server.line.stop()
        await server.client.aclose()
