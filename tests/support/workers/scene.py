"""An installation of one shard played by hand, and its operator."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from redis.asyncio import Redis
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from ingest.contracts import ids
from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Kind
from ingest.contracts.stream import (
    ARCHIVE_GROUP,
    GROUPS_KEY,
    heartbeat_key,
)
from ingest.durable.spool.directory import LockedSpool, SpoolDirectory, spool_of
from ingest.durable.spool.records import SpoolItem
from tests.support.directory import (
    a_click,
)
from tests.support.envelopes import an_envelope
from tests.support.servers.cli import Cli, servers_of
from tests.support.workers.replaying import Site
from tests.support.workers.working import STREAM
from workers.postgres.database import open_pool
from workers.redis_io.connections import for_jobs


class Scene:
    """Servers with one shard, and an operator."""

    def __init__(self, redis_url: str, database_url: str, data: Path) -> None:
        self.urls = (redis_url, database_url)
        self.archive = data / "archive"
        self.archive.mkdir()
        made = servers_of(*self.urls)
        more = {"REFTIDE_SHARDS": "1", "REFTIDE_DATA": str(data)}
        archive = {"REFTIDE_ARCHIVE": str(self.archive)}
        self.cli = Cli({**made.variables, **more, **archive})

    def play(self, act: Callable[[Site], Awaitable[object]]) -> None:
        """Let something happen."""

        async def run() -> None:
            async with (
                for_jobs(self.urls[0]) as redis,
                open_pool(self.urls[1], size=3) as pool,
            ):
                await act(Site(redis, pool, *self.urls, archive=self.archive))

        with capture_logs():
            asyncio.run(run())

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Somebody who takes up replays, in a thread of its own."""
        stop = Event()

        async def work(site: Site) -> None:
            await beat(site)
            while not stop.is_set():
                await site.replays().work()
                await asyncio.sleep(0.02)

        thread = Thread(target=lambda: self.play(work))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


async def beat(site: Site) -> None:
    await site.redis.sadd("rt:workers", "w1")
    await site.redis.set(heartbeat_key("w1"), 1, ex=600)


def clicks(*numbers: int) -> Callable[[Site], Awaitable[object]]:
    async def happen(site: Site) -> None:
        await site.add(*map(a_click, numbers))
        await site.record()

    return happen


def spool(data: Path) -> LockedSpool:
    """What an edge keeps on its disk: three events."""
    opened = SpoolDirectory(spool_of(data), lambda _: None).open_own()
    opened.store.append([item() for _ in range(3)], 1 << 20)
    return opened


def item() -> SpoolItem:
    """An event that an edge keeps."""
    event_id = uuid7()
    sealed = an_envelope(
        id=event_id, kind=Kind.CLICK, dialect="bio_re", at=ids.millis(event_id)
    )
    return SpoolItem(event_id, encode(sealed))


async def archives(site: Site) -> None:
    """The archive reads along, and has not acknowledged what it was given."""
    redis: Redis = site.redis
    await redis.sadd(GROUPS_KEY, ARCHIVE_GROUP)
    await redis.xgroup_create(STREAM, ARCHIVE_GROUP, "0")
    await redis.xreadgroup(ARCHIVE_GROUP, "archiver", {STREAM: ">"}, 2)
