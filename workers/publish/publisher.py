"""Publishes the directory, the edges' read model, into Redis.

The directory has parts that share no record. One publisher works at a part at a time, so that
no older value overwrites a newer one; a part that takes long holds no other up. The changes of
a publisher that dies stay in their table and are published again.

The advisory lock in PostgreSQL alone is not enough: it is lost when the session of a stalled
publisher is ended. So a publisher first writes a token into Redis, before it reads what it
will write, and Redis accepts its writes only as long as no other token took its place.
"""

from collections import defaultdict
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import WatchError

from ingest.contracts.directory import (
    CHANGES_FIELD,
    CHANGES_KEPT,
    CHANGES_KEY,
    CUSTOMER_PREFIX,
    EVERYTHING,
    FORMER_GENERATION_KEY,
    GENERATION_KEY,
    PUBLISHER_PREFIX,
)
from workers.model.batch import TransientError
from workers.postgres.database import Connection
from workers.postgres.sql import statements
from workers.publish import records
from workers.publish.records import Reader, Records
from workers.publish.retention import Retention, is_filling
from workers.quarantine.quarantine import TOPICS, wake

_SQL: Final = statements("publish/publisher")

#: The topics of the parts of the directory: first what operators switch off and limit.
_PARTS: Final[Mapping[str, Sequence[str]]] = {
    "access": ("switch", "limit", "key"),
    "links": ("link", "code", "partner_link", "domain", "program"),
    "customers": ("customer", "click"),
    "sales": ("sale",),
    "stats": ("stats",),
}
PARTS: Final = tuple(_PARTS)
#: What operators change, and edges have to know within a second.
URGENT_PARTS: Final = ("access", "links")
#: What follows from events, and is as much as they are.
FREQUENT_PARTS: Final = ("customers", "sales")
#: It sums up what a partner's links brought, which takes time.
SLOW_PARTS: Final = ("stats",)
_CHANGES_NEXT: Final = {
    part: _SQL["changes_next"].format(topics=str(topics).strip("(,)"))
    for part, topics in _PARTS.items()
}

#: Changes, or rows of a full publication, handled at a time.
CHUNK: Final = 500
#: Changes of a slow part: every batch of events names its partners again.
_SLOW_CHUNK: Final = 20_000

#: Up to so many keys are announced one by one; more are announced as EVERYTHING.
_MAX_ANNOUNCED: Final = 1000

_SUPERSEDED: Final = "another publishes, or Redis lost what was published"

#: For so long, edges of a former release find what they know. Seconds.
_FORMER_SECONDS: Final = 24 * 3600
_SCANNED: Final = 1000

_WholeReader = Callable[[Connection], Coroutine[Any, Any, Records]]


_RETENTION: Final = Retention()


class _Writer:
    """Writes records of some parts, and announces their keys once all are written."""

    def __init__(self, redis: Redis, kept: Retention, parts: Sequence[str]) -> None:
        self._redis = redis
        self._kept = kept
        self._publishers = [f"{PUBLISHER_PREFIX}{part}" for part in parts]
        self._token = uuid4().hex.encode()
        self._keys: set[str] = set()

    async def begin(self) -> None:
        """Take over from other publishers; call it under the lock, before reading rows."""
        await self._redis.mset(dict.fromkeys(self._publishers, self._token))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Pipeline]:
        """A MULTI block, executed at its end.

        Raises TransientError if another publisher has begun, or Redis has lost its data.
        """
        async with self._redis.pipeline(transaction=True) as pipe:
            await pipe.watch(*self._publishers)
            if {*await pipe.mget(self._publishers)} != {self._token}:
                raise TransientError(_SUPERSEDED)
            pipe.multi()  # type: ignore[no-untyped-call]  # redis-py types none of it
            yield pipe
            try:
                await pipe.execute()
            except WatchError as error:
                raise TransientError(_SUPERSEDED) from error

    async def write(self, found: Records) -> None:
        if not found:
            return
        is_scarce = any(each and each.strangers for each in found.values()) and (
            await is_filling(self._redis)
        )
        async with self.transaction() as pipe:
            for key, record in found.items():
                left_ms = self._kept.left_ms(record) if record else None
                if record is None or (left_ms is not None and left_ms <= 0):
                    pipe.delete(key)
                # What is not published, edges take for something still on its way.
                elif not is_scarce or self._kept.has_room(record):
                    pipe.set(key, record.value, px=left_ms)
        if len(self._keys) <= _MAX_ANNOUNCED:
            self._keys.update(found)

    async def announce(self) -> None:
        is_much = len(self._keys) > _MAX_ANNOUNCED
        async with self._redis.pipeline(transaction=False) as pipe:
            for key in [EVERYTHING] if is_much else self._keys:
                pipe.xadd(CHANGES_KEY, {CHANGES_FIELD: key}, maxlen=CHANGES_KEPT)
            await pipe.execute()


async def publish_changes(
    connection: Connection,
    redis: Redis,
    kept: Retention = _RETENTION,
    parts: Sequence[str] = PARTS,
) -> int:
    """Publish up to CHUNK changes, those of a part before those of the next; how many.

    It is more of slow parts. Parts that another publisher is at are left to it. Raises TransientError and the errors of
    Redis and asyncpg; then the changes stay queued.
    """
    count = 0
    for part in parts:
        if count < CHUNK:
            most = _SLOW_CHUNK if part in SLOW_PARTS else CHUNK - count
            count += await _publish_part(connection, redis, kept, part, most)
    return count


async def _publish_part(
    connection: Connection, redis: Redis, kept: Retention, part: str, most: int
) -> int:
    async with connection.transaction():
        if not await connection.fetchval(_SQL["part_lock"], part):
            return 0
        changes = await connection.fetch(_CHANGES_NEXT[part], most)
        if not changes:
            return 0
        writer = _Writer(redis, kept, [part])
        await writer.begin()
        await _publish(connection, writer, _by_topic(changes), _topics(kept))
        await writer.announce()
        waited = [each for each in changes if each["topic"] in TOPICS]
        await wake(connection, [f"{each['topic']} {each['ref']}" for each in waited])
        await connection.execute(
            _SQL["changes_done"], [change["seq"] for change in changes]
        )
        return len(changes)


async def publish_if_missing(
    connection: Connection, redis: Redis, kept: Retention = _RETENTION
) -> bool:
    """Publish the whole directory if Redis has none; whether that was done."""
    if await redis.exists(GENERATION_KEY):
        return False
    async with connection.transaction():
        if not await connection.fetchval(_SQL["publish_lock"]):
            return False
        # Another publisher may have done it before we got the lock.
        if await redis.exists(GENERATION_KEY):
            return False
        await publish_all(connection, redis, kept)
    await _retire_former(redis)
    return True


async def publish_all(
    connection: Connection, redis: Redis, kept: Retention = _RETENTION
) -> None:
    """Publish every record, then set the generation marker; deletes nothing.

    Needs a transaction that holds the publisher's lock. Raises TransientError if Redis loses
    its data meanwhile.
    """
    writer = _Writer(redis, kept, PARTS)
    await writer.begin()
    for read_document in _DOCUMENTS.values():
        await writer.write(await read_document(connection))
    for statement, read in _statements(kept).items():
        async for rows in _chunks(connection, _SQL[statement]):
            await writer.write(await read(connection, rows))
    now_ms = await connection.fetchval(_SQL["now_ms"])
    async with writer.transaction() as pipe:
        pipe.set(GENERATION_KEY, now_ms)
        pipe.xadd(CHANGES_KEY, {CHANGES_FIELD: EVERYTHING}, maxlen=CHANGES_KEPT)


async def _retire_former(redis: Redis) -> None:
    """Let the records of a former release expire: its edges may still run."""
    if not await redis.exists(FORMER_GENERATION_KEY):
        return
    cursor = 0
    while True:
        cursor, keys = await redis.scan(cursor, f"{CUSTOMER_PREFIX}*:*", _SCANNED)
        async with redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.expire(key, _FORMER_SECONDS, nx=True)
            await pipe.execute()
        if not cursor:
            break
    await redis.expire(FORMER_GENERATION_KEY, _FORMER_SECONDS, nx=True)


async def _publish(
    connection: Connection,
    writer: _Writer,
    refs: dict[str, list[str]],
    topics: Mapping[str, "_Topic"],
) -> None:
    for topic, read_document in _DOCUMENTS.items():
        if topic in refs:
            await writer.write(await read_document(connection))
    for topic, (parse, read) in topics.items():
        if topic in refs:
            await writer.write(await read(connection, [*map(parse, refs[topic])]))
    for program in refs.get("program", ()):
        links = _chunks(connection, _SQL["links_of_program"], UUID(program))
        async for rows in links:
            await writer.write(await records.of_links(connection, rows))


async def _chunks(
    connection: Connection, statement: str, *arguments: object
) -> AsyncIterator[Sequence[asyncpg.Record]]:
    cursor = await connection.cursor(statement, *arguments)
    while rows := await cursor.fetch(CHUNK):
        yield rows


def _by_topic(changes: Iterable[asyncpg.Record]) -> dict[str, list[str]]:
    """The distinct references of every topic."""
    refs: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for change in changes:
        refs[change["topic"]][change["ref"]] = None
    return {topic: list(found) for topic, found in refs.items()}


def _scoped_name(ref: str) -> tuple[UUID, str]:
    whose, _, name = ref.partition(" ")
    return UUID(whose), name


def _scoped_key(ref: str) -> tuple[UUID, bytes]:
    whose, key = _scoped_name(ref)
    return whose, bytes.fromhex(key)


#: Topics that are one record each; their references are ignored.
_DOCUMENTS: Final[dict[str, _WholeReader]] = {
    "switch": records.of_switches,
    "limit": records.of_limits,
    # It never changes, so it is published with everything else only.
    "email_key": records.of_email_key,
}

#: The parser of a topic's references, and the reader of the records.
_Topic = tuple[Callable[[str], tuple[Any, ...]], Reader]

#: The other topics, but customers.
_TOPICS: Final[dict[str, _Topic]] = {
    "program": (lambda ref: (UUID(ref),), records.of_programs),
    "domain": (lambda ref: (ref,), records.of_domains),
    "key": (lambda ref: (bytes.fromhex(ref),), records.of_keys),
    "click": (_scoped_name, records.of_clicks),
    "link": (lambda ref: (UUID(ref),), records.of_links),
    "code": (lambda ref: tuple(ref.split(" ", 1)), records.of_codes),
    "partner_link": (_scoped_name, records.of_partner_links),
    "sale": (_scoped_key, records.of_sales),
    "stats": (_scoped_name, records.of_stats),
}

_ALL_RECORDS: Final[dict[str, Reader]] = {
    "programs_all": records.of_programs,
    "domains_all": records.of_domains,
    "keys_all": records.of_keys,
    "clicks_all": records.of_clicks,
    "links_all": records.of_own_codes,
    "aliases_all": records.of_codes,
    "partner_links_all": records.of_partner_links,
    "sales_all": records.of_sales,
    "stats_all": records.of_stats,
}


def _topics(kept: Retention) -> Mapping[str, _Topic]:
    customers = records.of_customers(kept.customer_days)
    return _TOPICS | {"customer": (_scoped_name, customers)}


def _statements(kept: Retention) -> Mapping[str, Reader]:
    return _ALL_RECORDS | {"customers_all": records.of_customers(kept.customer_days)}
