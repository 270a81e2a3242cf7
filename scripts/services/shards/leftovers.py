"""Shards that are sealed although no change is under way.

A command leaves them so that is killed behind a seal while another takes its change back. Edges
append to the other shards meanwhile, or to their disks.
"""

from collections.abc import Sequence

from redis.asyncio import Redis

from scripts.services.observe.streams import read_shard
from scripts.services.shards import noting
from scripts.services.shards.sealing import is_sealed, unseal_all


async def left_sealed(redis: Redis, numbers: Sequence[int]) -> list[int]:
    """Which of the shards that are agreed on are so."""
    found = [each for each in numbers if is_sealed(await read_shard(redis, each))]
    # A note is there before the first seal: asked after the streams, there was none then.
    return [] if found and await noting.is_any(redis) else found


async def open_left(redis: Redis, numbers: Sequence[int]) -> list[int]:
    """Let them take events again: which they were.

    A change that begins in this moment seals them again until all is recorded.
    """
    found = await left_sealed(redis, numbers)
    await unseal_all(redis, found)
    return found
