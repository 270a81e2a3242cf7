"""An archive under test: one shard of a real server, archived into a directory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from redis.asyncio import Redis

from ingest.contracts.stream import ARCHIVE_GROUP, FIELD, GROUP, epoch_key, events_key
from workers.archive.archiver import Archiver, ArchiverConfig
from workers.archive.reader import read, segments
from workers.model.batch import Delivery

STREAM = events_key(0)
EVER = 1 << 62


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Yard:
    """Shard 0, numbered and with its recorder, and the directory of its archive."""

    redis: Redis
    directory: Path
    clock: Clock = field(default_factory=Clock)
    archivers: list[Archiver] = field(default_factory=list)

    async def prepare(self, epoch: int = 7) -> None:
        """What the first worker does to a stream."""
        await self.redis.set(epoch_key(0), epoch)
        await self.redis.xgroup_create(STREAM, GROUP, "0", mkstream=True)

    def archiver(self, owner: str = "one", **config: float) -> Archiver:
        how = ArchiverConfig(directory=self.directory, owner=owner, **config)  # type: ignore[arg-type]
        made = Archiver(self.redis, 0, how, self.clock, lambda _: None)
        self.archivers.append(made)
        return made

    def die(self) -> None:
        """Let go of what archivers have under way, as the kernel does of the dead."""
        for archiver in self.archivers:
            if archiver._writer is not None:
                archiver._writer._file.close()

    def close(self) -> None:
        """Close the files of archivers that tests left as if they had died."""
        for archiver in self.archivers:
            if archiver._writer is not None:
                archiver._writer.discard()

    async def add(self, payloads: Iterable[bytes]) -> list[bytes]:
        """Append entries; their ids."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for payload in payloads:
                pipe.xadd(STREAM, {FIELD: payload})
            return list(await pipe.execute())

    async def pending(self) -> int:
        """How many entries the archive was given and has not acknowledged."""
        return int((await self.redis.xpending(STREAM, ARCHIVE_GROUP))["pending"])

    def kept(self) -> list[Delivery]:
        """Everything that the archive gives back."""
        return everything(self.directory)

    def files(self) -> list[Path]:
        return [segment.data(self.directory) for segment in segments(self.directory)]


async def exhaust(archiver: Archiver) -> None:
    """Have it read whatever there is."""
    while await archiver.step():
        pass


def everything(
    directory: Path, from_ms: int = 0, to_ms: int = EVER, shard: int | None = None
) -> list[Delivery]:
    found: list[Delivery] = []
    cursor: str | None = None
    while True:
        page = read(directory, from_ms, to_ms, shard, cursor)
        found += page.deliveries
        cursor = page.next
        if cursor is None:
            return found


def payloads(deliveries: Sequence[Delivery]) -> list[bytes]:
    return [each.payload for each in deliveries]
