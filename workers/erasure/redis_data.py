"""Deletes erased persons' data from Redis: stream entries and the edges' keys.

An entry is deleted only when every group has acknowledged it: then it is recorded and
archived under its pseudonym. XDEL only flags an entry, and its bytes stay as long as the
stream's node has another entry. So all entries that may share its node are deleted with it;
they are acknowledged too, hence recorded and, if there is an archive, archived.
"""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ingest.contracts.directory import (
    CHANGES_FIELD,
    CHANGES_KEY,
    EVERYTHING,
    PUBLISHER_PREFIX,
    customer_key,
    former_customer_key,
)
from ingest.contracts.marks import new_customer_key, new_visitors, visitors_click
from ingest.contracts.stream import (
    FIELD,
    EntryId,
    cut_key,
    epoch_key,
    events_key,
)
from workers.erasure.payloads import pseudonymize_payloads
from workers.erasure.suppression import Suppressions
from workers.model.batch import Entry, deliveries_of
from workers.model.rows import DatabaseRecord
from workers.postgres.database import Pool, fetch
from workers.postgres.sql import statements
from workers.redis_io.connections import REDIS_ERRORS, redis_errors
from workers.redis_io.stream_state import registered_groups
from workers.redis_io.streams import nodes_of, servers_of

_SQL: Final = statements("erasure/erasure")
_PAGE: Final = 200
_SCANNED: Final = 1000

#: Redis' default limits of a stream node, used if Redis does not tell them.
_NODE_ENTRIES: Final = 100
_NODE_BYTES: Final = 4096

# A node ends by bytes or entries, whichever comes first. Deleted entries are added to the
# trimmer's count, so that they are not taken for lost. Returns 1 when nothing is left to do.
_TAKE_OUT: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] or redis.call('EXISTS', KEYS[1]) == 0 then return 1 end
local id, most, limit = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local near, first, last = {}, nil, nil
local function gather(page, is_back)
    local bytes = 0
    for _, entry in ipairs(page) do
        for _, text in ipairs(entry[2]) do bytes = bytes + #text end
        near[#near + 1] = entry[1]
        if is_back or not first then first = entry[1] end
        if not is_back or not last then last = entry[1] end
        if bytes > limit then return end
    end
end
gather(redis.call('XREVRANGE', KEYS[1], id, '-', 'COUNT', most), true)
if #near == 0 then return 1 end
gather(redis.call('XRANGE', KEYS[1], '(' .. id, '+', 'COUNT', most), false)
local missing = {}
for at = 5, #ARGV do missing[ARGV[at]] = true end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local facts = {}
    for at = 1, #group, 2 do facts[group[at]] = group[at + 1] end
    missing[facts['name']] = nil
    local unread = redis.call('XRANGE', KEYS[1], '(' .. facts['last-delivered-id'], last, 'COUNT', 1)
    if #unread > 0 then return 0 end
    if #redis.call('XPENDING', KEYS[1], facts['name'], first, last, 1) > 0 then return 0 end
end
if next(missing) then return 0 end
local gone = redis.call('XDEL', KEYS[1], unpack(near))
redis.call('INCRBY', KEYS[3], gone)
return 1
"""


class NodeLimits(NamedTuple):
    """The limits of a stream node: entries, bytes."""

    entries: int
    bytes: int


async def clear(pool: Pool, redis: Redis) -> int:
    """Delete the listed data that can be deleted now; how many items have to wait.

    Raises TransientError.
    """
    after, waiting = 0, 0
    with redis_errors():
        while page := await fetch(pool, _SQL["leftovers_next"], after, _PAGE):
            groups = await registered_groups(redis)
            gone = [await _is_gone(redis, row, groups) for row in page]
            done = [
                row["id"] for row, is_gone in zip(page, gone, strict=True) if is_gone
            ]
            await fetch(pool, _SQL["leftovers_done"], done)
            after, waiting = page[-1]["id"], waiting + len(page) - len(done)
    return waiting


async def search(pool: Pool, redis: Redis, shards: Sequence[int]) -> int:
    """List erased persons' entries of whole streams for deletion; how many were found.

    Rows do not tell the person of tests and of entries beyond quarantine's budget. Raises
    TransientError.
    """
    suppressions = Suppressions()
    await suppressions.refresh(pool)
    with redis_errors():
        return sum([await _search(pool, redis, suppressions, each) for each in shards])


async def _search(
    pool: Pool, redis: Redis, suppressions: Suppressions, shard: int
) -> int:
    epoch = await redis.get(epoch_key(shard))
    if epoch is None or not await redis.exists(events_key(shard)):
        return 0
    last = (await redis.xinfo_stream(events_key(shard)))["last-generated-id"]
    found, after = 0, "-"
    while True:
        page = await redis.xrange(events_key(shard), after, last.decode(), _SCANNED)
        if not page:
            return found
        deliveries = [
            delivery
            for raw, fields in page
            for delivery in deliveries_of(
                Entry.of(int(epoch), shard, *EntryId.of(raw)), fields.get(FIELD, b"")
            )
        ]
        named = await pseudonymize_payloads(pool, suppressions, deliveries)
        found += len(named.found)
        after = f"({page[-1][0].decode()}"


async def forget_customer(
    redis: Redis, workspace_id: UUID, external_id: str | None
) -> None:
    """Delete a customer from the directory. Needs the publisher's lock.

    Raises TransientError.
    """
    with redis_errors():
        async with redis.pipeline(transaction=True) as pipe:
            if external_id is not None:
                pipe.delete(customer_key(workspace_id, external_id))
                pipe.delete(former_customer_key(workspace_id, external_id))
                pipe.delete(new_customer_key(workspace_id, external_id))
            # A stalled publisher that has lost its lock may still hold the customer's record.
            pipe.delete(f"{PUBLISHER_PREFIX}customers")
            # The stream of changes names customers. Edges that miss entries drop their caches.
            pipe.delete(CHANGES_KEY)
            pipe.xadd(CHANGES_KEY, {CHANGES_FIELD: EVERYTHING})
            await pipe.execute()


async def forget_visitors(
    redis: Redis, workspace_id: UUID, clicks: Collection[UUID]
) -> None:
    """Delete the fingerprints of these clicks' visitors. Raises TransientError."""
    pattern, cursor = f"{new_visitors(workspace_id)}*", 0
    with redis_errors():
        while True:
            cursor, keys = await redis.scan(cursor, match=pattern, count=_SCANNED)
            values = await redis.mget(keys) if keys else []
            for key, value in zip(keys, values, strict=True):
                if value and visitors_click(value) in clicks:
                    await redis.delete(key)
            if not cursor:
                return


async def rewrite_logs(redis: Redis, shards: Sequence[int]) -> bool | None:
    """Start rewrites of the servers' append-only files; False if one has none or refuses.

    None if an earlier rewrite is in progress: ask again. Raises TransientError.
    """
    with redis_errors():
        # Once for each node of a cluster: the second time it would be in progress.
        servers = [each.client for each in await nodes_of(servers_of(redis, shards))]
    # The marks of visitors are at home.
    done = [await _rewrite_log(each) for each in dict.fromkeys([redis, *servers])]
    return None if None in done else all(done)


async def _rewrite_log(redis: Redis) -> bool | None:
    with redis_errors():
        try:
            if not (await redis.info("persistence")).get("aof_enabled"):
                return False
            await redis.bgrewriteaof()  # type: ignore[no-untyped-call]  # redis-py types none of it
        except ResponseError as error:
            return None if "progress" in str(error) else False
    return True


async def _is_gone(redis: Redis, row: DatabaseRecord, groups: Collection[str]) -> bool:
    for key in row["keys"]:
        await redis.delete(key)
    if row["epoch"] is None:
        return True
    entry = Entry(row["epoch"], row["shard"], row["entry_ms"], row["entry_seq"])
    shard = entry.shard
    # One of a former layout may have been at home.
    servers = (each.client for each in servers_of(redis, [shard]))
    node = await _node_limits(next(servers, redis))
    done = await redis.register_script(_TAKE_OUT)(
        keys=[events_key(shard), epoch_key(shard), cut_key(shard)],
        args=[entry.epoch, entry.stream_id, node.entries, node.bytes, *groups],
    )
    return bool(done)


async def _node_limits(redis: Redis) -> NodeLimits:
    try:
        found = await redis.config_get("stream-node-max-*")
    except REDIS_ERRORS:
        found = {}  # managed servers often refuse CONFIG
    entries = int(found.get("stream-node-max-entries", _NODE_ENTRIES))
    size = int(found.get("stream-node-max-bytes", _NODE_BYTES))
    # 0 means unlimited; then the other limit ends a node.
    return NodeLimits(entries or 10 * _NODE_ENTRIES, size or 10 * _NODE_BYTES)
