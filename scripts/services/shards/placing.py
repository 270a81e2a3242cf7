"""What servers of a list know of it: each which of how many it is."""

from ingest.contracts.placement.streams_url import place_of
from ingest.contracts.stream import PLACE_KEY
from scripts.services.shards.sides import Side
from workers.redis_io.streams import StreamsRedis


async def place(side: Side) -> None:
    """Say so on each of them; processes with another list leave it alone from then on."""
    redis, servers = side.redis, side.placement.servers
    if not isinstance(redis, StreamsRedis) or servers.is_cluster:
        return
    for at, server in enumerate(redis.servers):
        async with redis.asking(server):
            await server.client.set(PLACE_KEY, place_of(at, len(redis.servers)))
