"""Appends events that commands make themselves, also while shards are about to change."""

from collections.abc import Sequence

from redis.asyncio import Redis

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Envelope
from ingest.contracts.stream import FIELD, events_key, is_sealed
from scripts.errors import Failure


async def append(redis: Redis, shards: list[int], events: Sequence[Envelope]) -> None:
    """Append each to one of `shards`, which loses those that turn out to be sealed.

    Raises a Failure where none is left, and what Redis raises.
    """
    while events:
        if not shards:
            raise Failure(
                "The shards are about to change, and no stream takes events meanwhile.",
                "run this again once `reftide shards` is done: what is there by then stays"
                " as it is.",
            )
        events = await _append(redis, shards, events)


async def _append(
    redis: Redis, shards: list[int], events: Sequence[Envelope]
) -> list[Envelope]:
    """Those whose shard is sealed."""
    places = [shards[event.id.int % len(shards)] for event in events]
    async with redis.pipeline(transaction=False) as pipe:
        for shard, event in zip(places, events, strict=True):
            pipe.xadd(events_key(shard), {FIELD: encode(event)})
        replies = await pipe.execute(raise_on_error=False)
    refused: list[Envelope] = []
    sealed: set[int] = set()
    for shard, event, reply in zip(places, events, replies, strict=True):
        if isinstance(reply, Exception):
            if not is_sealed(reply):
                raise reply
            refused.append(event)
            sealed.add(shard)
    shards[:] = [shard for shard in shards if shard not in sealed]
    return refused
