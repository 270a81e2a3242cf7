"""What all tabs show: read once, however many are open.

Every second a point of the streams and of the ledger joins a ring of an hour. The whole
status is read only while somebody looks, and not more than every two seconds.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

from redis.asyncio import Redis

from scripts.console.reads import Reads
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import redis_server, shard_numbers
from scripts.services.observe.groups import read_groups
from scripts.services.observe.ledger import read_totals
from scripts.services.observe.status import read_status
from scripts.services.observe.streams import hours_left
from workers.model.batch import TransientError
from workers.redis_io.stream_state import lag_of, read_stream
from workers.stream.epochs import appended_by_edges

_EVERY_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 1.5
_HOUR: Final = 3600
#: Over so many points rates are taken.
_WINDOW: Final = 10
_AGAIN_SECONDS: Final = 2.0
#: A status that is older is read again before it is shown.
_OLD_SECONDS: Final = 15.0

#: So many readings are shared besides; one of so many times its age is not shown.
_MOST_SHARED: Final = 64
_TOO_OLD: Final = 5.0

_Found = TypeVar("_Found")


class Point(NamedTuple):
    """A moment, in Unix seconds; None is what a server that is away would have said."""

    at: float
    #: Seconds, by shard.
    lags: Sequence[float] | None = None
    #: Events so far.
    accepted: int | None = None
    recorded: int | None = None


class Shared(Generic[_Found]):
    """Something that is read again when it is asked for and old: by one reader at a time."""

    def __init__(
        self,
        read: Callable[[], Awaitable[_Found]],
        seconds: float = _AGAIN_SECONDS,
        most_seconds: float = inf,
    ) -> None:
        self._read = read
        self._seconds = seconds
        self._most_seconds = most_seconds
        self._found: _Found | None = None
        self._reading: asyncio.Task[None] | None = None
        self._at = 0.0
        #: Counts readings.
        self.version = 0

    async def get(self) -> _Found:
        """The last one, at once unless it is too old. Raises what the reading raises."""
        age = monotonic() - self._at
        if age > self._seconds and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._again())
        is_good = self.version and age <= self._most_seconds
        if not is_good and self._reading is not None:
            await asyncio.shield(self._reading)
        return cast("_Found", self._found)

    async def _again(self) -> None:
        self._found = await self._read()
        self._at = monotonic()
        self.version += 1


class Sampler:
    """The ring of points, the status and the groups of the streams."""

    def __init__(self, environment: Environment, reads: Reads) -> None:
        self.points: deque[Point] = deque(maxlen=_HOUR)
        self.status = Shared(self._status, most_seconds=_OLD_SECONDS)
        self.groups = Shared(self._groups)
        self._environment = environment
        self._reads = reads
        self._shared: dict[str, Shared[Any]] = {}

    def shared(
        self, name: str, read: Callable[[], Awaitable[_Found]], seconds: float
    ) -> Shared[_Found]:
        """What pages share besides: by name, read when asked for after so many seconds."""
        if name not in self._shared:
            # The one that was made first goes; a request that waits for it still gets it.
            for former in list(self._shared)[: -_MOST_SHARED + 1]:
                del self._shared[former]
            self._shared[name] = Shared(read, seconds, _TOO_OLD * seconds)
        return self._shared[name]

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            with suppress(Unreachable, TransientError, TimeoutError):
                async with redis_server(
                    self._environment, patience=_PATIENCE_SECONDS
                ) as redis:
                    shards = await shard_numbers(self._environment, redis)
                    while True:
                        await self._add(await self._streams(redis, shards))
            await self._add(Point(self._environment.clock()))

    def per_second(self, name: str) -> float | None:
        """The rate of `accepted` or `recorded` over the last seconds."""
        points = list(self.points)[-_WINDOW:]
        return rate(points, name)

    async def _add(self, point: Point) -> None:
        recorded = None
        with suppress(Unreachable):
            async with self._reads.connection() as connection:
                recorded = (await read_totals(connection))["recorded"]
        self.points.append(point._replace(recorded=recorded))
        await asyncio.sleep(_EVERY_SECONDS)

    async def _streams(self, redis: Redis, shards: Sequence[int]) -> Point:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            found = [
                await read_stream(redis, shard, is_counted=False) for shard in shards
            ]
            more = await appended_by_edges(redis)
        streams = [each for each in found if each is not None]
        accepted = sum(each.added for each in streams)
        return Point(
            self._environment.clock(),
            [lag_of(each).seconds for each in streams],
            accepted + sum(each.beyond_first for each in more),
        )

    async def _status(self) -> dict[str, Any]:
        status = await read_status(self._environment, 0)
        accepted = self.per_second("accepted")
        return status | {
            "accepted_per_second": accepted,
            "recorded_per_second": self.per_second("recorded"),
            "hours_left": hours_left(
                status["redis_memory_bytes"],
                status["redis_memory_limit_bytes"],
                status["bytes_per_event"],
                accepted,
            ),
        }

    async def _groups(self) -> list[dict[str, Any]] | None:
        """None while Redis is away."""
        with suppress(Unreachable):
            async with redis_server(
                self._environment, patience=_PATIENCE_SECONDS
            ) as redis:
                return await read_groups(
                    redis, await shard_numbers(self._environment, redis)
                )
        return None


def rate(points: Sequence[Point], name: str) -> float | None:
    """A second's increase between the first and the last point that know it."""
    known = [
        (each.at, value)
        for each in points
        if (value := getattr(each, name)) is not None
    ]
    if len(known) < 2:  # noqa: PLR2004 - two make a rate
        return None
    (first, less), (last, more) = known[0], known[-1]
    # Less is another epoch: a stream that was lost, or a ledger that was erased.
    return (
        round((more - less) / (last - first), 1)
        if last > first and more >= less
        else None
    )
