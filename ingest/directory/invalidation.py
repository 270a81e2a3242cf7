"""Follows the stream of directory changes, on a connection of its own.

What it guarantees: once `stands` is true, every later change is handed to `forget`, or
`EVERYTHING` is, where changes may have been missed.
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

#: Where one stands in a stream that has never held an entry.
_START: Final = b"0-0"


class InvalidationListener:
    """One reader of the changes."""

    def __init__(
        self,
        redis: Redis,
        *,
        forget: Callable[[str], None],
        reached: Callable[[bool], None],
    ) -> None:
        """`redis` must wait for an answer longer than a read blocks.

        `forget` is called with a changed key or `EVERYTHING`, `reached` with whether
        Redis answered.
        """
        self._redis = redis
        self._forget = forget
        self._reached = reached
        self._standing: bytes | None = None
        self._is_stopping = False

    @property
    def stands(self) -> bool:
        """Whether what is cached from now on will be dropped when it changes."""
        return self._standing is not None

    async def run(self) -> None:
        """Follow until told to stop; where it stands outlives every disconnection."""
        me = asyncio.current_task()
        # redis-py may take a cancellation for its own time-out's, and go on.
        while not self._is_stopping and not (me and me.cancelling()):
            try:
                await self._step()
            except REDIS_ERRORS:
                self._reached(False)  # noqa: FBT003 -- a callback's one argument
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                self._reached(True)  # noqa: FBT003 -- likewise

    def stop_soon(self) -> None:
        """End `run` after the read under way, since cancelling it leaks its socket."""
        self._is_stopping = True

    async def _step(self) -> None:
        if self._standing is None:
            await self._stand_at_the_end()
            return
        answer = await self._redis.xread(
            {CHANGES_KEY: self._standing}, count=_PER_READ, block=_BLOCK_MS
        )
        entries = answer[0][1] if answer else []
        if await self._missed_some(self._standing, found_some=bool(entries)):
            await self._stand_at_the_end()
            return
        for entry_id, fields in entries:
            self._forget(fields.get(CHANGES_FIELD, b"*").decode("utf-8", "replace"))
            self._standing = entry_id

    async def _stand_at_the_end(self) -> None:
        newest = await self._redis.xrevrange(CHANGES_KEY, count=1)
        self._standing = newest[0][0] if newest else _START
        # After the position is known: what changes from here on will be read.
        self._forget(EVERYTHING)

    async def _missed_some(self, standing: bytes, *, found_some: bool) -> bool:
        """Whether the stream lost entries after `standing`, or is another stream.

        Trimming takes the oldest first: while the entry where we stand is there, so is
        all that came after it. Asked after reading, so that it holds for what was read.
        """
        if standing == _START:
            return found_some
        return not await self._redis.xrange(CHANGES_KEY, standing, standing)
