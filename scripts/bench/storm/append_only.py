"""A server's append-only file that loses its end, and the entries that go with it.

A file that was cut and a replica that was behind are alike: both have the commands up to some
moment, and none after it.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from redis.asyncio import Redis

from ingest.contracts.stream import events_key
from scripts.bench.environment.servers import SHARDS

#: Where a command may begin: the file's may be any bytes, so that it is tried.
_BEGINNING: Final = re.compile(rb"\*\d+\r\n\$")
#: A command that is cut begins at most so far before, and so does its transaction.
_BEFORE: Final = 1 << 20
_SHARD: Final = {events_key(shard).encode(): shard for shard in range(SHARDS)}


class Append(NamedTuple):
    """An entry that was added to the stream of a shard."""

    shard: int
    entry: bytes
    payload: bytes


class AppendOnlyFile:
    """The newest part of it, of a Redis or Valkey with its default names."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the server's `appendonlydir`."""
        self._folder = folder
        self._known: tuple[Path, int]
        #: What was added shortly before a cut, or after it.
        self._suspects: list[Append] = []

    def remember(self) -> None:
        """Note how long it is: what comes later is what a replica lacks that is cut off."""
        newest = self._newest()
        self._known = newest, newest.stat().st_size

    def forget(self) -> None:
        """Take off what came since; the server must not run."""
        newest, (known, size) = self._newest(), self._known
        self._truncate(newest, size if newest == known else 0)

    def cut(self, count: int) -> None:
        """Take so many bytes off its end; the server must not run."""
        newest = self._newest()
        self._truncate(newest, max(0, newest.stat().st_size - count))

    async def lost_entries(self, redis: Redis) -> Sequence[Append]:
        """The entries that the server no longer has, now that it runs again."""
        asked, self._suspects = self._suspects, []
        async with redis.pipeline(transaction=False) as pipe:
            for one in asked:
                pipe.xrange(events_key(one.shard), one.entry, one.entry)
            found = await pipe.execute()
        return [one for one, there in zip(asked, found, strict=True) if not there]

    def _newest(self) -> Path:
        parts = self._folder.glob("*.incr.aof")
        return max(parts, key=lambda part: int(part.name.split(".")[-3]))

    def _truncate(self, file: Path, size: int) -> None:
        with file.open("rb+") as opened:
            opened.seek(max(0, size - _BEFORE))
            self._suspects = appends(opened.read())
            opened.truncate(size)


def appends(tail: bytes) -> list[Append]:
    """The entries that the end of an append-only file adds; its first command may be torn."""
    for beginning in _BEGINNING.finditer(tail):
        try:
            commands = [*_commands(tail, beginning.start())]
        except ValueError:
            continue  # bytes of a value
        return [
            Append(_SHARD[words[1]], words[2], words[-1])
            for words in commands
            if words[0].upper() == b"XADD" and words[1] in _SHARD
        ]
    return []


def _commands(data: bytes, at: int) -> Iterator[list[bytes]]:
    """The commands from a place on; ValueError where there is none."""
    while at < len(data):
        count, at = _number(data, at, b"*")
        words = []
        for _ in range(count):
            size, at = _number(data, at, b"$")
            words.append(data[at : at + size])
            at += size + 2
        yield words


def _number(data: bytes, at: int, mark: bytes) -> tuple[int, int]:
    """The number behind a mark, and where its line ends."""
    end = data.find(b"\r\n", at)
    if data[at : at + 1] != mark or end < 0:
        raise ValueError(mark)
    return int(data[at + 1 : end]), end + 2
