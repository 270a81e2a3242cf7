"""What has to hold before shards are sealed. Each check raises a Failure with its remedy."""

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.stream import ARCHIVE_GROUP
from scripts.errors import Failure
from scripts.servers import Connection
from scripts.services.maintain import pauses
from scripts.services.maintain.edges import standing
from scripts.services.observe.streams import find_shard
from scripts.services.shards.sealing import is_sealed, unread
from scripts.services.shards.sides import Side
from workers.redis_io.stream_state import registered_groups
from workers.redis_io.streams import servers_of
from workers.stream.liveness import live_workers, readers, shards_of

_DELETED: Final = "delete the keys {rt:* there, or name another server."


async def in_flight(redis: Redis, shards: Sequence[int]) -> dict[int, int]:
    """The shards that have entries which a registered group has not acknowledged: how many."""
    groups = await registered_groups(redis)
    found = {shard: await unread(redis, shard, groups) for shard in shards}
    return {shard: count for shard, count in found.items() if count}


async def require_current(redis: Redis) -> None:
    """All who run know what a sealed stream is; those of a former release do not say their shards."""
    edges = [each["edge"] for each in await standing(redis) if not each.get("shards")]
    workers = [
        name for name in await live_workers(redis) if not await shards_of(redis, name)
    ]
    former = [f"edge {name}" for name in edges] + [f"worker {name}" for name in workers]
    if former:
        raise Failure(
            f"Of a former release, which knows of no change: {', '.join(former)}.",
            "upgrade edges and workers first, as docs/upgrading.md says. Who has just"
            " ended is forgotten after 15 s.",
        )


async def require_recording(
    connection: Connection, side: Side, waiting: dict[int, int]
) -> None:
    """Workers can record what the shards of a side still have."""
    if pause := await pauses.lasting(connection):
        raise Failure(
            f"Recording is paused: {pause['detail']}. What is in the streams would wait.",
            "fix it, then `reftide resume`.",
        )
    if waiting and not await readers(side.redis, side.layout):
        raise Failure(
            f"No worker that is alive reads them, and {_described(waiting)}.",
            f"start one that does, with the former settings:"
            f" REFTIDE_SHARDS={len(side.layout.numbers)}, and STREAMS_URL of then.",
        )


async def require_archive(redis: Redis, kept: int, *, has_them_dropped: bool) -> None:
    """What was recorded is elsewhere, too, or nobody wants it."""
    if not kept or has_them_dropped or ARCHIVE_GROUP in await registered_groups(redis):
        return
    raise Failure(
        f"{kept:,} recorded entries would leave the streams, and nothing archives them:"
        " replays could not read them again.",
        "give --drop-entries if no replay will need them, or wait until they are trimmed;"
        " REFTIDE_ARCHIVE keeps later ones.",
    )


async def require_room(present: Side, target: Side) -> None:
    """The servers to be have no streams but those that are sealed, or will be."""
    runs = {shard: await _run(present, shard) for shard in present.layout.numbers}
    for shard in target.layout.numbers:
        stream = await find_shard(target.redis, shard)
        if stream is None or not stream.added or is_sealed(stream):
            continue
        if await _run(target, shard) != runs.get(shard):
            raise Failure(
                f"Where the streams are to go, shard {shard} has a stream of"
                f" {stream.added:,} entries already.",
                _DELETED,
            )


async def replaced(present: Side, target: Side, shard: int) -> bool:
    """Whether a shard is not also one of those to be, on the same server.

    One that restarts between two questions looks like two servers. So they are two only if both
    sides answer again as before.
    """
    if shard not in target.layout.numbers:
        return True
    before: list[str] = []
    while True:
        runs = [await _run(side, shard) for side in (present, target)]
        if runs[0] == runs[1] or runs == before:
            return runs[0] != runs[1]
        before = runs


def not_empty(
    waiting: dict[int, int], lacking: Sequence[str], seconds: float, way_out: str
) -> Failure:
    """That after so many seconds entries are unread, or else replicas of servers lack the seal."""
    if waiting:
        return Failure(
            f"After {seconds:g} s {_described(waiting)}. These shards take no new events:"
            " edges use the others, or their disks.",
            f"see `reftide status`, then run the same command again, which goes on; {way_out}",
        )
    return Failure(
        f"After {seconds:g} s replicas of {', '.join(lacking)} have not confirmed that"
        " shards are sealed: a fail-over to one of them would open these again.",
        f"see that they follow, then run the same command again, which goes on; {way_out}",
    )


async def _run(side: Side, shard: int) -> str:
    """Tells the server of a shard from any other."""
    [server] = servers_of(side.redis, [shard])
    return str((await server.client.info("server"))["run_id"])


def _described(waiting: dict[int, int]) -> str:
    shards = ", ".join(map(str, waiting))
    return f"{sum(waiting.values()):,} entries wait in shards {shards}"
