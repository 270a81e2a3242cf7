"""Reads the stream of directory changes, on a connection of its own.

Once `is_current` is true, `invalidate` is called for every later change, or with
`EVERYTHING` if changes may have been missed.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.directory import CHANGES_FIELD, CHANGES_KEY, EVERYTHING
from ingest.redis_io.client import REDIS_ERRORS

#: Short, because stopping waits for it.
_BLOCK_MS: Final = 250
_PER_READ: Final = 1000
_PAUSE_SECONDS: Final = 0.5

#: The position in a stream that has never had an entry.
_START: Final = b"0-0"


class InvalidationListener:
    """Reads the changes for one edge."""

    def __init__(
        self,
        redis: Redis,
        *,
        invalidate: Callable[[str], None],
        reached: Callable[[bool], None],
    ) -> None:
        """`redis` must wait for an answer longer than a read blocks.

        `invalidate` is called with a changed key or `EVERYTHING`, `reached` with whether
        Redis answered.
        """
        self._redis = redis
        self._invalidate = invalidate
        self._reached = reached
        self._standing: bytes | None = None
        self._is_stopping = False

    @property
    def is_current(self) -> bool:
        """Whether values cached from now on will be invalidated when they change."""
        return self._standing is not None

    async def run(self) -> None:
        """Read until stopped; the position outlives disconnections."""
        me = asyncio.current_task()
        # redis-py may take a cancellation for its own timeout, and continue.
        while not self._is_stopping and not (me and me.cancelling()):
            try:
                await self._step()
            except REDIS_ERRORS:
                self._reached(False)  # noqa: FBT003 -- a callback's one argument
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                self._reached(True)  # noqa: FBT003 -- likewise

    def stop_soon(self) -> None:
        """End `run` after the current read, since cancelling it leaks its socket."""
        self._is_stopping = True

    async def _step(self) -> None:
        if self._standing is None:
            await self._start_at_end()
            return
        answer = await self._redis.xread(
            {CHANGES_KEY: self._standing}, count=_PER_READ, block=_BLOCK_MS
        )
        entries = answer[0][1] if answer else []
        if await self._has_missed(self._standing, found_some=bool(entries)):
            await self._start_at_end()
            return
        for entry_id, fields in entries:
            self._invalidate(fields.get(CHANGES_FIELD, b"*").decode("utf-8", "replace"))
            self._standing = entry_id

    async def _start_at_end(self) -> None:
        newest = await self._redis.xrevrange(CHANGES_KEY, count=1)
        self._standing = newest[0][0] if newest else _START
        # After the position is known: later changes will be read.
        self._invalidate(EVERYTHING)

    async def _has_missed(self, position: bytes, *, found_some: bool) -> bool:
        """Whether the stream lost entries after `position`, or is another stream.

        Trimming deletes the oldest entries first: as long as the entry at our position exists,
        so do all later ones. Asked after reading, so that it holds for what was read.
        """
        if position == _START:
            return found_some
        return not await self._redis.xrange(CHANGES_KEY, position, position)
