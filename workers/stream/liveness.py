"""Which workers are alive. All functions raise Redis' exceptions."""

from collections.abc import Awaitable, Iterable, Sequence
from typing import Final, cast

from redis.asyncio import Redis

from ingest.contracts.placement.layout import Layout, described
from ingest.contracts.stream import WORKERS_KEY, heartbeat_key

#: Between it and a layout's record; former releases wrote 1.
_SHARDS: Final = b"shards "


def heartbeat(layout: Layout) -> bytes:
    """What a worker of these shards writes."""
    return _SHARDS + layout.record


async def shards_of(redis: Redis, name: str) -> str | None:
    """The shards of a worker that is alive, in words; None of one that does not say."""
    found = await redis.get(heartbeat_key(name))
    if found is None or not found.startswith(_SHARDS):
        return None
    return described(found.removeprefix(_SHARDS))


async def readers(redis: Redis, layout: Layout) -> Sequence[str]:
    """The names of the workers that are alive and read all shards of a layout, sorted."""
    names = await live_workers(redis)
    beats = await redis.mget([heartbeat_key(name) for name in names]) if names else []
    return [
        name
        for name, beat in zip(names, beats, strict=True)
        if beat is not None and _reads(beat, layout)
    ]


def _reads(beat: bytes, layout: Layout) -> bool:
    record = beat.removeprefix(_SHARDS)
    return layout.is_beside(record) and Layout.numbered(record).issuperset(
        layout.numbers
    )


async def live_workers(redis: Redis) -> Sequence[str]:
    """The names of the workers that have a heartbeat, sorted."""
    return await with_heartbeat(redis, await worker_names(redis))


async def worker_names(redis: Redis) -> set[str]:
    """The names of all workers that were not garbage-collected, dead ones too."""
    # redis-py types the reply for its synchronous client too.
    members = cast("Awaitable[set[bytes]]", redis.smembers(WORKERS_KEY))
    return {name.decode() for name in await members}


async def with_heartbeat(redis: Redis, names: Iterable[str]) -> Sequence[str]:
    """Those of these workers that have a heartbeat, sorted."""
    asked = sorted(names)
    async with redis.pipeline(transaction=False) as pipe:
        for name in asked:
            pipe.exists(heartbeat_key(name))
        beats = await pipe.execute()
    return [name for name, beat in zip(asked, beats, strict=True) if beat]
