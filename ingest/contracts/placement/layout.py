"""The numbers of an installation's shards.

A shard's number is in the hash tag of its keys, and so decides its slot in a cluster. Streams
that are where `REDIS_URL` leads have the numbers 0, 1, 2, …. Streams of their own have numbers
whose slots are spread: with 12 shards, each of 2, 3, 4, 6 or 12 nodes that have slots in equal
ranges has an equal share of them, and so with each multiple of 12.
"""

from binascii import crc_hqx
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from typing import Final, NamedTuple, Self
from uuid import UUID

from ingest.contracts.stream import SHARDS_KEY

SLOTS: Final = 16_384

#: How many parts of the slots are of equal share.
_PARTS: Final = 12
#: The parts of one shard after the other, in an order in which few shards are spread as well.
_ORDER: Final = (0, 5, 10, 7, 2, 8, 4, 11, 1, 9, 3, 6)
#: As many slots at both ends of a part have no shard: nodes' ranges may end nearby.
_MARGIN: Final = 64

#: Between the numbers of streams of their own and what they are on.
_ON: Final = b" on "


class Layout(NamedTuple):
    """The shards of an installation, and how Redis has them written down."""

    numbers: tuple[int, ...]
    #: The value of `SHARDS_KEY`. A release that knows no streams of their own takes it for
    #: another number of shards, and does not start.
    record: bytes

    @classmethod
    def at_home(cls, shards: int) -> Self:
        """Of so many shards where `REDIS_URL` leads."""
        return cls(tuple(range(shards)), b"%d" % shards)

    @classmethod
    def apart(cls, shards: int, servers: str) -> Self:
        """Of so many shards on servers of their own: `StreamServers.kind`."""
        numbers = spread(shards)
        listed = ",".join(map(str, numbers)).encode()
        return cls(numbers, b"%b%b%b" % (listed, _ON, servers.encode()))

    @classmethod
    def recorded(cls, record: bytes) -> Self:
        """As Redis has it; raises ValueError for what no process wrote."""
        listed, on, _ = record.partition(_ON)
        if not on:
            return cls.at_home(int(record))
        return cls(tuple(map(int, listed.split(b","))), record)

    @classmethod
    def numbered(cls, record: bytes) -> frozenset[int]:
        """The numbers of a record; none for what no process wrote."""
        try:
            return frozenset(cls.recorded(record).numbers)
        except ValueError:
            return frozenset()

    @property
    def place(self) -> str:
        """What the shards are on; empty where `REDIS_URL` leads."""
        return self.record.partition(_ON)[2].decode("utf-8", "replace")

    def is_beside(self, record: bytes) -> bool:
        """Whether shards by this record are on what these are on."""
        try:
            return Layout.recorded(record).place == self.place
        except ValueError:
            return False

    def shard_of(self, event_id: UUID) -> int:
        """The shard of an entry, by the id of its first event."""
        return self.numbers[event_id.int % len(self.numbers)]


def described(record: bytes) -> str:
    """A record in words; any text that Redis may have."""
    listed, on, servers = record.decode("utf-8", "replace").partition(_ON.decode())
    return f"{len(listed.split(','))}{on}{servers}" if on else listed


def mismatch(found: bytes, wanted: bytes) -> str:
    """What to do about a record that is another one than this process has."""
    if _ON in found + wanted:
        return (
            f"{SHARDS_KEY} in Redis says {described(found)}, but REFTIDE_SHARDS and"
            f" STREAMS_URL say {described(wanted)}: give every process the same; `reftide"
            " shards --to` changes what Redis says"
        )
    return (
        f"{SHARDS_KEY} in Redis is {described(found)}, but REFTIDE_SHARDS is"
        f" {described(wanted)}: set REFTIDE_SHARDS to the number in Redis, here and for"
        " every other process"
    )


def slot_of(shard: int) -> int:
    """The slot of a shard's keys."""
    return crc_hqx(b"rt:%d" % shard, 0) % SLOTS


@lru_cache
def spread(shards: int) -> tuple[int, ...]:
    """The numbers of so many shards; fewer shards have the first of them."""
    numbers = [_numbers_in(part) for part in _ORDER]
    return tuple(next(numbers[index % _PARTS]) for index in range(shards))


def _numbers_in(part: int) -> Iterator[int]:
    first, end = SLOTS * part // _PARTS, SLOTS * (part + 1) // _PARTS
    for shard in count():
        if first + _MARGIN <= slot_of(shard) < end - _MARGIN:
            yield shard
