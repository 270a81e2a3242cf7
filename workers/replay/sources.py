"""Reads a replay's entries: first the retained stream, then the archive.

A shard's stream is read from its oldest retained entry to the last one at the replay's start.
The archive then supplies what the stream did not have: entries trimmed before or while it was
read, and entries of former epochs.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import orjson
from redis.asyncio import Redis

from ingest.contracts.stream import FIELD, GROUP, EntryId, epoch_key, events_key
from workers.archive.object_store.fetch import SegmentFetcher
from workers.model.batch import Delivery, Entry, TransientError, deliveries_of
from workers.redis_io.connections import redis_errors
from workers.replay.archive_pages import MIN_PAGE, ArchivePages, ArchivePosition

#: How far an edge's clock may be ahead of Redis'; ids further ahead are refused.
_CLOCK_SKEW_MS: Final = 5 * 60 * 1000
_ZERO: Final = EntryId(0, 0)
_START: Final = "0-0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """The progress of one shard. Ids are texts, since JSON numbers could lose digits.

    `at` is the last entry read from the stream of `epoch`, which is read up to `end`. `holes`
    are ranges (from, until before) that the stream no longer had. Once `is_archive`,
    `archive` is the archive reader's cursor, and `done` entries of its frame are done.
    """

    epoch: int | None
    at: str
    end: str
    holes: tuple[tuple[str, str], ...] = ()
    is_archive: bool = False
    archive: str | None = None
    done: int = 0

    @classmethod
    def decode(cls, document: str) -> Self:
        """From what `encode` made."""
        values: dict[str, Any] = orjson.loads(document)
        holes = tuple((low, high) for low, high in values["holes"])
        return cls(**values | {"holes": holes})

    def encode(self) -> str:
        """As the column `cursor` holds it."""
        return orjson.dumps(asdict(self)).decode()


class ReplayPage(NamedTuple):
    """Some entries, how many were read to find them, and the next cursor; None at the end."""

    deliveries: Sequence[Delivery]
    read: int
    next: Cursor | None


class _ShardState(NamedTuple):
    """A shard at one moment."""

    epoch: int | None
    delivered: EntryId
    first: EntryId | None
    #: The highest deleted entry.
    deleted: EntryId


class ReplaySources:
    """The stream and the archive of all shards."""

    def __init__(
        self, redis: Redis, archive: Path | None, fetcher: SegmentFetcher | None = None
    ) -> None:
        """`archive` is the archive's directory, None if there is none.

        `fetcher` fetches segments that only an object store has.
        """
        self._redis = redis
        self._archive_pages = (
            None if archive is None else ArchivePages(archive, fetcher)
        )

    async def begin(self, shard: int, span: tuple[int, int]) -> tuple[Cursor, int]:
        """The first cursor, and about how many entries follow. Raises TransientError."""
        with redis_errors():
            return await self._begin(shard, span)

    async def page(
        self, shard: int, cursor: Cursor, span: tuple[int, int], count: int = MIN_PAGE
    ) -> ReplayPage:
        """The next entries, without those the group still has to record.

        `span` is the requested time range in Unix milliseconds. Raises TransientError.
        """
        with redis_errors():
            if cursor.is_archive:
                return await self._archive_page(shard, cursor, span, count)
            return await self._stream_page(shard, cursor, count)

    async def _begin(self, shard: int, span: tuple[int, int]) -> tuple[Cursor, int]:
        key = events_key(shard)
        epoch = await self._redis.get(epoch_key(shard))
        # An entry's id is not older than its event's, apart from clock skew.
        at = EntryId(max(0, span[0] - _CLOCK_SKEW_MS), 0)
        end, count, first = _START, 0, None
        if await self._redis.exists(key):
            stream = await self._redis.xinfo_stream(key)
            end = stream["last-generated-id"].decode()
            count, first = stream["length"], stream["first-entry"]
        if self._archive_pages is not None and (
            first is None or EntryId.of(first[0]) > at
        ):
            count += await self._archive_pages.count(shard, span)
        number = None if epoch is None else int(epoch)
        return Cursor(epoch=number, at=str(at), end=end), count

    async def _stream_page(self, shard: int, cursor: Cursor, count: int) -> ReplayPage:
        state, page = await self._read(shard, cursor, count)
        at, end = EntryId.of(cursor.at), EntryId.of(cursor.end)
        if state.epoch is None or state.epoch != cursor.epoch:
            # The epoch has ended; what it still held is in the archive, if anywhere.
            return ReplayPage(
                (), 0, self._archive_cursor(_with_gap(cursor, at, end.next))
            )
        if at < end:
            missing_until = end.next if state.first is None else state.first
            cursor = _with_gap(cursor, at, min(missing_until, end.next))
        found: list[Delivery] = []
        taken = 0
        for entry, fields in page:
            where = Entry.of(state.epoch, shard, entry.ms, entry.seq)
            found += deliveries_of(where, fields.get(FIELD, b""))
            taken += 1
            if len(found) >= count:
                break
        acknowledged = await self._acknowledged(shard, state, found)
        if len(page) < count and taken == len(page):
            if state.first is not None and state.first <= state.deleted:
                # Which entries were deleted is unknown: ask the archive for all up to there.
                cursor = _with_gap(cursor, _ZERO, state.deleted.next)
            return ReplayPage(acknowledged, taken, self._archive_cursor(cursor))
        return ReplayPage(
            acknowledged, taken, replace(cursor, at=str(page[taken - 1][0]))
        )

    async def _read(
        self, shard: int, cursor: Cursor, count: int
    ) -> tuple[_ShardState, list[tuple[EntryId, dict[bytes, bytes]]]]:
        key = events_key(shard)
        state = await self._state(shard)
        if EntryId.of(cursor.at) >= EntryId.of(cursor.end):
            return state, []
        page = await self._redis.xrange(key, f"({cursor.at}", cursor.end, count)
        again = await self._state(shard)
        # Trims and resets count as of after the read, deliveries as of before it.
        state = again._replace(delivered=state.delivered)
        return state, [(EntryId.of(raw), fields) for raw, fields in page]

    async def _state(self, shard: int) -> _ShardState:
        key = events_key(shard)
        epoch = await self._redis.get(epoch_key(shard))
        if epoch is None or not await self._redis.exists(key):
            return _ShardState(None, _ZERO, None, _ZERO)
        stream = await self._redis.xinfo_stream(key)
        first = stream["first-entry"]
        for group in await self._redis.xinfo_groups(key):
            if group["name"] == GROUP.encode():
                delivered = EntryId.of(group["last-delivered-id"])
                return _ShardState(
                    int(epoch),
                    delivered,
                    EntryId.of(first[0]) if first else None,
                    EntryId.of(stream["max-deleted-entry-id"]),
                )
        # Workers create it again and read everything; until then it is unknown what they
        # have acknowledged.
        raise TransientError(f"shard {shard} has no group {GROUP}")

    async def _acknowledged(
        self, shard: int, state: _ShardState, found: Sequence[Delivery]
    ) -> list[Delivery]:
        """The entries that the group has acknowledged, and so committed.

        Pending entries are read after `last-delivered-id`: a delivered entry that is not
        pending was acknowledged.
        """
        delivered = [
            one
            for one in found
            if one.entry.epoch != state.epoch or _id(one) <= state.delivered
        ]
        live = [_id(one) for one in delivered if one.entry.epoch == state.epoch]
        if not live:
            return delivered
        pending = await self._pending(shard, min(live), max(live))
        return [
            one
            for one in delivered
            if one.entry.epoch != state.epoch or _id(one) not in pending
        ]

    async def _pending(self, shard: int, low: EntryId, high: EntryId) -> set[EntryId]:
        held: set[EntryId] = set()
        least = str(low)
        while True:
            page = await self._redis.xpending_range(
                events_key(shard), GROUP, least, str(high), MIN_PAGE
            )
            held |= {EntryId.of(item["message_id"]) for item in page}
            if len(page) < MIN_PAGE:
                return held
            least = f"({page[-1]['message_id'].decode()}"

    def _archive_cursor(self, cursor: Cursor) -> Cursor | None:
        return None if self._archive_pages is None else replace(cursor, is_archive=True)

    async def _archive_page(
        self, shard: int, cursor: Cursor, span: tuple[int, int], count: int
    ) -> ReplayPage:
        if self._archive_pages is None:
            return ReplayPage((), 0, None)
        place = ArchivePosition(cursor.archive, cursor.done)
        entries, after = await self._archive_pages.take(shard, span, place, count)
        found = [one for one in entries if _is_missing(one, cursor)]
        state = await self._state(shard)
        acknowledged = await self._acknowledged(shard, state, found)
        if after is None:
            return ReplayPage(acknowledged, len(entries), None)
        next_cursor = replace(cursor, archive=after.cursor, done=after.done)
        return ReplayPage(acknowledged, len(entries), next_cursor)


def _id(delivery: Delivery) -> EntryId:
    return EntryId.of(delivery.entry.stream_id)


def _with_gap(cursor: Cursor, at: EntryId, until: EntryId) -> Cursor:
    """Add the range between the last entry read and the next retained one, if any."""
    if until <= at.next:
        return cursor
    return replace(cursor, holes=(*cursor.holes, (str(at.next), str(until))))


def _is_missing(delivery: Delivery, cursor: Cursor) -> bool:
    """Whether the stream no longer had it when the stream was read."""
    if delivery.entry.epoch != cursor.epoch:
        return True
    entry = _id(delivery)
    return any(
        EntryId.of(low) <= entry < EntryId.of(high) for low, high in cursor.holes
    )
