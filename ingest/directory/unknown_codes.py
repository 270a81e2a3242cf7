"""Counts the codes that no link has, by host, and adds the counts up in Redis.

An edge counts in memory and writes what is new every two seconds; no answer waits for it.
Codes are any text that a caller sends. So both places hold a fixed number of them, the most
frequent ones (Space-Saving): a new code takes the place of the least frequent one. Requests with
a key have a place of their own. Within an hour, a workspace's keys bring at most half of what an
edge holds there, and a network without a key a sixteenth. A count is what was seen since a code was last taken in, so it is never too
high, but for a write whose reply was lost.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args
from uuid import UUID

from redis.asyncio import Redis

from ingest.contracts.metrics.edge import UNKNOWN_CODES
from ingest.contracts.shares import Level, most
from ingest.contracts.storable import text
from ingest.core.client_ip import truncate
from ingest.redis_io.client import REDIS_ERRORS

#: Whether an API key came with the requests.
Origin = Literal["keyed", "public"]
ORIGINS: Final[tuple[Origin, ...]] = get_args(Origin)

#: Codes that an edge holds of one origin, and Redis of one origin and week.
CAPACITY: Final = 256
CAPACITY_OF_A_WEEK: Final = 1_000
#: Weeks that are shown, besides the present one.
WEEKS: Final = 4
#: Of a host and of a code; what is longer is cut.
CHARS: Final = 128

_EVERY_SECONDS: Final = 2.0
_HOUR_MS: Final = 3_600_000
_WEEK_SECONDS: Final = 7 * 24 * 3600
#: No host contains it.
SEPARATOR: Final = "/"

# Keys: a sorted set of codes by rank, and a hash of what else is known of them. Arguments: the
# capacity, the expiry, then of each code its name, its count, when it was first and last seen.
# The value in the hash is how much of the rank is the predecessor's, and the two times.
_ADD: Final = """
for at = 3, #ARGV, 4 do
    local name, rank = ARGV[at], tonumber(ARGV[at + 1])
    local over, first = 0, ARGV[at + 2]
    local known = redis.call('HGET', KEYS[2], name)
    if known then
        over, first = known:match('(%S+) (%S+)')
    elseif redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then
        local least = redis.call('ZPOPMIN', KEYS[1])
        redis.call('HDEL', KEYS[2], least[1])
        over = least[2]
        rank = rank + over
    end
    redis.call('ZINCRBY', KEYS[1], rank, name)
    redis.call('HSET', KEYS[2], name, over .. ' ' .. first .. ' ' .. ARGV[at + 3])
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[2])
"""


@dataclass(frozen=True, slots=True)
class UnknownCode:
    """How often a code was seen; first and last in Unix milliseconds."""

    #: None: the request named none.
    host: str | None
    code: str
    count: int
    first: int
    last: int


@dataclass(slots=True)
class _Held:
    sender: object
    rank: int
    first: int
    last: int
    unsent: int = 0


class Sketch:
    """The most frequent codes of one origin, by host and code."""

    def __init__(self, level: Level, capacity: int = CAPACITY) -> None:
        """`level` says what senders are, and so their share."""
        self._capacity = capacity
        self._share = most(level, capacity)
        self._held: dict[str, _Held] = {}
        self._by_sender: Counter[object] = Counter()
        self._hour = 0

    def __len__(self) -> int:
        return len(self._held)

    def count(self, name: str, sender: object, at_ms: int) -> None:
        """Count a code; a new one is passed over if its sender has its share."""
        held = self._held.get(name)
        if held is None:
            if self._by_sender[sender] >= self._share:
                return
            rank = self._drop_least() if len(self._held) >= self._capacity else 0
            held = self._held[name] = _Held(sender, rank, at_ms, at_ms)
            self._by_sender[sender] += 1
        else:
            # Random codes, of which a scanner sends any number, do not come again.
            UNKNOWN_CODES.inc()
        held.rank += 1
        held.unsent += 1
        held.last = at_ms

    def unsent(self) -> list[tuple[str, int, int, int]]:
        """What was not written yet: name, count, first and last seen."""
        return [
            (name, held.unsent, held.first, held.last)
            for name, held in self._held.items()
            if held.unsent
        ]

    def sent(self, counts: Iterable[tuple[str, int, int, int]], now_ms: int) -> None:
        """These are written. Each hour begins without codes, so that shares come free."""
        for name, count, *_ in counts:
            if held := self._held.get(name):
                held.unsent -= min(count, held.unsent)
        if self._hour != now_ms // _HOUR_MS:
            self._hour = now_ms // _HOUR_MS
            self._held = {
                name: held for name, held in self._held.items() if held.unsent
            }
            self._by_sender = Counter(held.sender for held in self._held.values())

    def _drop_least(self) -> int:
        """Make room; the rank of what had it."""
        name = min(self._held, key=lambda name: self._held[name].rank)
        least = self._held.pop(name)
        self._by_sender[least.sender] -= 1
        if not self._by_sender[least.sender]:
            del self._by_sender[least.sender]
        return least.rank


class UnknownCodeCounts:
    """The unknown codes of one edge."""

    def __init__(self, redis: Redis, clock: Callable[[], int]) -> None:
        """`clock` gives Unix milliseconds."""
        self._add = redis.register_script(_ADD)
        self._clock = clock
        self._sketches: dict[Origin, Sketch] = {
            "keyed": Sketch("workspace"),
            "public": Sketch("sender"),
        }
        self._is_stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def count(
        self, host: str | None, code: str, workspace_id: UUID | None, ip: str | None
    ) -> None:
        """Count a request with a workspace's key, or one without a key from an address."""
        name = text(host or "", CHARS) + SEPARATOR + text(code, CHARS)
        if workspace_id is not None:
            self._sketches["keyed"].count(name, workspace_id, self._clock())
        else:
            sender = truncate(ip) if ip else None
            self._sketches["public"].count(name, sender, self._clock())

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Return after a last write."""
        self._is_stopping.set()
        if self._task:
            await asyncio.wait([self._task])

    async def write(self) -> None:
        """Add what is new to what Redis has; what Redis does not take is kept."""
        for origin, sketch in self._sketches.items():
            now = self._clock()
            if unsent := sketch.unsent():
                expires = (WEEKS + 1) * _WEEK_SECONDS
                flat = (one for row in unsent for one in row)
                await self._add(
                    keys=keys_of(origin, week_of(now)),
                    args=[CAPACITY_OF_A_WEEK, expires, *flat],
                )
                sketch.sent(unsent, now)

    async def _run(self) -> None:
        while not self._is_stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_SECONDS):
                    await self._is_stopping.wait()
            with suppress(*REDIS_ERRORS):
                await self.write()


def week_of(at_ms: int) -> int:
    return at_ms // (_WEEK_SECONDS * 1000)


def keys_of(origin: Origin, week: int) -> tuple[str, str]:
    """The sorted set by rank, and the hash."""
    ranks = f"rt:edge-unknown:{{{origin}}}:{week}"
    return ranks, f"{ranks}:seen"


async def read_unknown_codes(redis: Redis) -> list[UnknownCode]:
    """The codes of the last weeks, most frequent first; raises RedisError."""
    seconds, _ = await redis.time()
    this_week = week_of(seconds * 1000)
    found: dict[str, UnknownCode] = {}
    # A transaction: an edge may write in between, and a rank has its times.
    async with redis.pipeline(transaction=True) as pipe:
        for origin in ORIGINS:
            for week in range(this_week - WEEKS, this_week + 1):
                ranks, seen = keys_of(origin, week)
                pipe.zrange(ranks, 0, -1, withscores=True)
                pipe.hgetall(seen)
        replies = await pipe.execute()
    for ranked, times in zip(replies[::2], replies[1::2], strict=True):
        for name, code in _decoded(ranked, times):
            found[name] = _sum(found.get(name, code), code)
    return sorted(found.values(), key=lambda code: (-code.count, code.code))


def _decoded(
    ranks: list[tuple[bytes, float]], seen: dict[bytes, bytes]
) -> Iterator[tuple[str, UnknownCode]]:
    for raw, rank in ranks:
        over, first, last = map(float, seen[raw].split())
        name = raw.decode()
        host, _, code = name.partition(SEPARATOR)
        count = int(rank - over)
        yield name, UnknownCode(host or None, code, count, int(first), int(last))


def _sum(one: UnknownCode, other: UnknownCode) -> UnknownCode:
    if one is other:
        return one
    return replace(
        one,
        count=one.count + other.count,
        first=min(one.first, other.first),
        last=max(one.last, other.last),
    )
