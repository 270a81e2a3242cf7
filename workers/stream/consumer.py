"""Reads every shard and acknowledges what was recorded.

A read is processed in batches of events. An entry is acknowledged when each of its events is
settled. If the process dies before the commit, the entries are pending and come again. If it
dies between commit and acknowledgement, they come again too, and are recognised by their
place.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from ingest.contracts.metrics.worker import BATCH_SECONDS, BATCHES, DELAYED, DELAYS
from ingest.contracts.telemetry import Log
from workers.model.batch import Delivery, Entry, PausedError, Processor, TransientError
from workers.quarantine.circuit_breaker import CircuitBreaker
from workers.redis_io.connections import StreamReset
from workers.stream.poison_pill import batches
from workers.stream.shard import (
    START,
    ReaderConfig,
    ShardPage,
    ShardReader,
)

_Pages = Callable[[bytes], Awaitable[ShardPage]]

#: While all abandoned entries wait for a later release, they are claimed less and less often:
#: this many times less at most.
_MAX_RECLAIM_FACTOR: Final = 12

#: Seconds between checks whether a pause is over.
_PAUSE_CHECK_SECONDS: Final = 0.1

_MIN_BACKOFF: Final = 0.05
_MAX_BACKOFF: Final = 2.0


def backoff(attempt: int) -> float:
    """Seconds to wait after the given failed attempt: doubling, with jitter."""
    pause = min(_MAX_BACKOFF, _MIN_BACKOFF * 2.0 ** min(attempt - 1, 10))
    return pause * random.uniform(0.5, 1.0)  # noqa: S311 -- spreads, hides nothing


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event at most so many seconds; whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


class Outage:
    """Paces the attempts while a server does not answer; logs the cause once."""

    def __init__(
        self, log: Log, pause: Callable[[int], float], name: str = "start"
    ) -> None:
        """`name` labels the metrics: the shard's number, or `start`."""
        self._log = log
        self._delays, self._delayed = DELAYS.labels(name), DELAYED.labels(name)
        self._pause = pause
        self._attempts = 0

    @property
    def is_on(self) -> bool:
        return self._attempts > 0

    def over(self) -> None:
        self._delayed.set(0)
        self._attempts = 0

    def next_pause(self, trouble: TransientError) -> float:
        """Seconds until the next attempt."""
        self._attempts += 1
        self._delays.inc()
        self._delayed.set(1)
        if self._attempts == 1:
            self._log.warning("batch.delayed", cause=str(trouble))
        return self._pause(self._attempts)


class UnsettledEntries:
    """The entries of one read, with how many of their events are not settled yet."""

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing is settled yet."""
        self._has_several = any(each.entry.ordinal for each in deliveries)
        self._left = Counter[Entry]()
        if self._has_several:
            self._left.update(each.entry._replace(ordinal=0) for each in deliveries)

    def without(self, settled: Sequence[Delivery]) -> Sequence[Delivery]:
        """Of these settled events, the last of each entry that has no others left."""
        if not self._has_several:
            return settled
        whole: list[Delivery] = []
        for each in settled:
            entry = each.entry._replace(ordinal=0)
            self._left[entry] -= 1
            if not self._left[entry]:
                whole.append(each)
        return whole


class Consumer:
    """One consumer of the group, with a reader for each shard."""

    def __init__(
        self,
        shards: Sequence[ShardReader],
        processor: Processor,
        config: ReaderConfig,
        *,
        stop: asyncio.Event,
        breaker: CircuitBreaker | None = None,
        pause: Callable[[int], float] = backoff,
    ) -> None:
        """`stop` ends `run`; `pause` is the seconds after a failed attempt.

        Without a breaker, a PausedError ends `run`.
        """
        self._shards = shards
        self._processor = processor
        self._stop = stop
        self._breaker = breaker
        self._pause = pause
        # Two renewals may fail before the entries look abandoned.
        self._hold_every = config.reclaim_after / 3
        self._config = config
        self._outages: dict[int, Outage] = {}

    @property
    def delayed(self) -> Sequence[int]:
        """The shards whose processing waits for a server."""
        return [shard for shard, outage in self._outages.items() if outage.is_on]

    async def run(self) -> None:
        """Read until stopped. Raises what the processor raises besides TransientError."""
        async with asyncio.TaskGroup() as readers:
            for shard in self._shards:
                readers.create_task(self._keep_reading(shard))

    async def _keep_reading(self, shard: ShardReader) -> None:
        try:
            await self._read_on(shard)
        except BaseException:
            # The other readers are cancelled now, but redis-py 5 loses a cancellation at the
            # end of a send (Python 3.11's `wait_for`). They cannot miss this.
            self._stop.set()
            raise

    async def _read_on(self, shard: ShardReader) -> None:
        log = Log(shard=shard.number, consumer=self._config.name)
        outage = Outage(log, self._pause, str(shard.number))
        self._outages[shard.number] = outage
        while not self._stop.is_set():
            try:
                await self._read(shard, outage)
            except StreamReset:
                continue
            except TransientError as trouble:
                await is_set_within(self._stop, outage.next_pause(trouble))

    async def _read(self, shard: ShardReader, outage: Outage) -> None:
        await shard.prepare()
        # Its own pending entries first: they are the oldest.
        await self._follow(shard, outage, shard.own)
        usual = every = self._config.reclaim_every
        look_again = time.monotonic()
        while await self._may_go_on():
            if time.monotonic() >= look_again:
                is_futile = await self._follow(shard, outage, shard.idle)
                slower = min(2 * every, _MAX_RECLAIM_FACTOR * usual)
                every = slower if is_futile else usual
                look_again = time.monotonic() + every
            await self._settle_fresh(shard, outage)

    async def _settle_fresh(self, shard: ShardReader, outage: Outage) -> None:
        """Settle what is new; after few entries, wait so that the next read finds more."""
        fresh = await shard.fresh()
        due = time.monotonic() + self._config.gather_seconds
        await self._settle(shard, outage, fresh)
        rest = due - time.monotonic()
        if 0 < len(fresh) < self._config.batch_size // 2 and rest > 0:
            await is_set_within(self._stop, rest)

    async def _follow(self, shard: ShardReader, outage: Outage, pages: _Pages) -> bool:
        """Settle page after page; true if there were entries and all stay pending."""
        cursor: bytes | None = START
        found = settled = 0
        while cursor is not None and await self._may_go_on():
            page = await pages(cursor)
            found += len(page.deliveries)
            settled += await self._settle(shard, outage, page.deliveries)
            cursor = page.next
        return found > 0 and not settled

    async def _settle(
        self, shard: ShardReader, outage: Outage, deliveries: Sequence[Delivery]
    ) -> int:
        """Process and acknowledge; the number of acknowledged entries."""
        if not deliveries:
            outage.over()
            return 0
        released = asyncio.Event()
        unsettled = UnsettledEntries(deliveries)
        acknowledged = 0
        failure: TransientError | None = None
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hold(shard, deliveries, released))
            try:
                for batch in batches(deliveries, self._config.batch_size):
                    done = await self._processed(batch, outage)
                    if done:
                        whole = unsettled.without(done)
                        await shard.ack(whole)
                        outage.over()
                        BATCHES.labels(shard.number).inc()
                        acknowledged += len(whole)
            except TransientError as error:
                failure = error  # raised below: the group would wrap it
            finally:
                released.set()
        if failure is not None:
            raise failure
        return acknowledged

    async def _processed(
        self, deliveries: Sequence[Delivery], outage: Outage
    ) -> Sequence[Delivery]:
        """The events that may be acknowledged; none if a stop comes first."""
        while await self._may_go_on():
            try:
                with BATCH_SECONDS.time():
                    return await self._processor.process(deliveries)
            except TransientError as trouble:
                await is_set_within(self._stop, outage.next_pause(trouble))
            except PausedError as halt:
                # Errors during shutdown are no reason to pause.
                if self._breaker is None or self._stop.is_set():
                    raise
                await self._breaker.pause(halt)
        return ()

    async def _may_go_on(self) -> bool:
        """Wait while recording is paused; False if a stop comes first."""
        while self._breaker is not None and self._breaker.is_open:
            if await is_set_within(self._stop, _PAUSE_CHECK_SECONDS):
                return False
        return not self._stop.is_set()

    async def _hold(
        self,
        shard: ShardReader,
        deliveries: Sequence[Delivery],
        released: asyncio.Event,
    ) -> None:
        """Renew the claim on a read until it is released."""
        while not await is_set_within(released, self._hold_every):
            with suppress(TransientError):
                await shard.hold(deliveries)
