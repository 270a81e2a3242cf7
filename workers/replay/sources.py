"""Reads a replay's entries: first the retained stream, then the archive.

A shard's stream is read from its oldest retained entry to the last one at the replay's start.
The archive then supplies what the stream did not have: entries trimmed before or while it was
read, and entries of former epochs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple, Self

from msgspec import json
from redis.asyncio import Redis

from ingest.contracts.stream import FIELD, GROUP, EntryId, events_key
from workers.archive.object_store.fetch import SegmentFetcher
from workers.model.batch import (
    UNSIGNED,
    Delivery,
    Entry,
    TransientError,
    deliveries_of,
)
from workers.redis_io.connections import redis_errors
from workers.redis_io.stream_state import StreamState, lag_of, read_stream
from workers.replay.archive_pages import (
    MIN_PAGE,
    NO_DAMAGE,
    ArchivePages,
    ArchivePosition,
    Damage,
    Wanted,
)

#: How far an edge's clock may be ahead of Redis'; ids further ahead are refused.
_CLOCK_SKEW_MS: Final = 5 * 60 * 1000
_ZERO: Final = EntryId(0, 0)


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
        return json.decode(document, type=cls)

    def encode(self) -> str:
        """As the column `cursor` holds it."""
        return json.encode(self).decode()


class ReplayPage(NamedTuple):
    """Some entries, how many were read to find them, and the next cursor; None at the end.

    `damage` is what the archive could not read of them.
    """

    deliveries: Sequence[Delivery]
    read: int
    next: Cursor | None
    damage: Damage = NO_DAMAGE


class ReplayStart(NamedTuple):
    """The first cursor, about how many entries follow, and what is known to be damaged."""

    cursor: Cursor
    expected: int
    damage: Damage = NO_DAMAGE


class ReplaySources:
    """The stream and the archive of all shards."""

    def __init__(
        self, redis: Redis, archive: Path | None, fetcher: SegmentFetcher | None = None
    ) -> None:
        """`archive` is the archive's directory, None if there is none.

        `fetcher` fetches segments that only an object store has.
        """
        self._redis = redis
        self.archive = archive
        self._archive_pages = (
            None if archive is None else ArchivePages(archive, fetcher)
        )

    async def begin(self, shard: int, span: tuple[int, int]) -> ReplayStart:
        """Where to begin. Raises TransientError."""
        with redis_errors():
            return await self._begin(shard, span)

    async def page(
        self,
        shard: int,
        cursor: Cursor,
        span: tuple[int, int],
        count: int = MIN_PAGE,
        wanted: Wanted | None = None,
    ) -> ReplayPage:
        """The next entries that are `wanted`, without those the group still has to record.

        `span` is the requested time range of the archive's entries, in Unix milliseconds.
        Raises TransientError.
        """
        with redis_errors():
            if cursor.is_archive:
                return await self._archive_page(shard, cursor, span, count, wanted)
            page = await self._stream_page(shard, cursor, count)
        if wanted is None:
            return page
        found = [one for one in page.deliveries if wanted.has(one.payload)]
        return page._replace(deliveries=found)

    async def lag(self, shard: int) -> float:
        """How many seconds live recording is behind. Raises TransientError."""
        stream = await read_stream(self._redis, shard, is_counted=False)
        return 0.0 if stream is None else lag_of(stream).seconds

    async def _begin(self, shard: int, span: tuple[int, int]) -> ReplayStart:
        # An entry's id is not older than its event's, apart from clock skew.
        at = EntryId(max(0, span[0] - _CLOCK_SKEW_MS), 0)
        epoch, end, count, first = None, _ZERO, 0, None
        if stream := await read_stream(self._redis, shard, is_counted=False):
            epoch, end, count = stream.epoch, stream.last, stream.length
            first = stream.first
        damage = NO_DAMAGE
        if self._archive_pages is not None and (first is None or first > at):
            found = await self._archive_pages.extent(shard, span)
            count += found.entries
            damage = Damage(0, found.unreadable)
        return ReplayStart(Cursor(epoch=epoch, at=str(at), end=str(end)), count, damage)

    async def _stream_page(self, shard: int, cursor: Cursor, count: int) -> ReplayPage:
        at, end = EntryId.of(cursor.at), EntryId.of(cursor.end)
        page: list[tuple[bytes, dict[bytes, bytes]]] = []
        before = after = await self._state(shard)
        if at < end:
            key, low = events_key(shard), f"({cursor.at}"
            page = await self._redis.xrange(key, low, cursor.end, count)
            # Trims and resets count as of after the read, deliveries as of before it.
            after = await self._state(shard)
        if after is None or after.epoch is None or after.epoch != cursor.epoch:
            # The epoch has ended; what it still held is in the archive, if anywhere.
            ended = _with_gap(cursor, at, end.next)
            return ReplayPage((), 0, self._archive_cursor(ended))
        if at < end:
            cursor = _with_gap(cursor, at, min(after.first or end.next, end.next))
        found: list[Delivery] = []
        taken = 0
        for raw, fields in page:
            entry = Entry.of(after.epoch, shard, *EntryId.of(raw))
            found += deliveries_of(entry, fields.get(FIELD, b""))
            taken += 1
            if len(found) >= count:
                break
        acknowledged = await self._acknowledged(shard, before, found)
        if len(page) >= count or taken < len(page):
            last = page[taken - 1][0].decode()
            return ReplayPage(acknowledged, taken, replace(cursor, at=last))
        if after.first is not None and after.first <= after.deleted:
            # Which entries were deleted is unknown: ask the archive for all up to there.
            cursor = _with_gap(cursor, _ZERO, after.deleted.next)
        return ReplayPage(acknowledged, taken, self._archive_cursor(cursor))

    async def _state(self, shard: int) -> StreamState | None:
        """The stream, if it has an epoch."""
        stream = await read_stream(self._redis, shard, is_counted=False)
        if stream is None or stream.epoch is None:
            return None
        if GROUP not in stream.groups:
            # Workers create it again and read everything; until then it is unknown what they
            # have acknowledged.
            raise TransientError(f"shard {shard} has no group {GROUP}")
        return stream

    async def _acknowledged(
        self, shard: int, state: StreamState | None, found: Sequence[Delivery]
    ) -> Sequence[Delivery]:
        """The entries that the group has acknowledged, and so committed.

        Pending entries are read after `last-delivered-id`: a delivered entry that is not
        pending was acknowledged.
        """
        if state is None:
            return found
        epoch, last = state.epoch, state.groups[GROUP].delivered
        live = [
            entry
            for one in found
            if one.entry.epoch == epoch and (entry := _id(one)) <= last
        ]
        held = set[EntryId]()
        if live:
            held = await self._pending(shard, min(live), max(live))
        return [
            one
            for one in found
            if one.entry.epoch != epoch
            or ((entry := _id(one)) <= last and entry not in held)
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
        self,
        shard: int,
        cursor: Cursor,
        span: tuple[int, int],
        count: int,
        wanted: Wanted | None,
    ) -> ReplayPage:
        if self._archive_pages is None:
            return ReplayPage((), 0, None)
        place = ArchivePosition(cursor.archive, cursor.done)
        taken = await self._archive_pages.take(shard, span, place, count, wanted)
        found = _missing(taken.deliveries, cursor)
        state = await self._state(shard)
        acknowledged = await self._acknowledged(shard, state, found)
        following = None
        if taken.after is not None:
            at, done = taken.after
            following = replace(cursor, archive=at, done=done)
        return ReplayPage(acknowledged, taken.read, following, taken.damage)


def _id(delivery: Delivery) -> EntryId:
    entry = delivery.entry
    return EntryId(entry.ms % UNSIGNED, entry.seq % UNSIGNED)


def _with_gap(cursor: Cursor, at: EntryId, until: EntryId) -> Cursor:
    """Add the range between the last entry read and the next retained one, if any."""
    if until <= at.next:
        return cursor
    return replace(cursor, holes=(*cursor.holes, (str(at.next), str(until))))


def _missing(deliveries: Sequence[Delivery], cursor: Cursor) -> Sequence[Delivery]:
    """Those that the stream no longer had when it was read."""
    holes = [(EntryId.of(low), EntryId.of(high)) for low, high in cursor.holes]
    return [
        one
        for one in deliveries
        if one.entry.epoch != cursor.epoch
        or any(low <= _id(one) < high for low, high in holes)
    ]
