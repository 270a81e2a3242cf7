"""The runbook, followed in each situation that it is for.

The long ones are elsewhere: `test_lost_redis.py`, `test_outage_replayed.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from ingest.contracts import ids
from ingest.contracts.envelope import Kind, encode
from ingest.contracts.stream import (
    ARCHIVE_GROUP,
    GROUPS_KEY,
    EntryId,
    epoch_key,
    heartbeat_key,
)
from ingest.directory.unknown_codes import UnknownCodes
from ingest.durable.edge_clock import unix_ms
from ingest.durable.spool.directory import LockedSpool, SpoolDirectory, spool_of
from ingest.durable.spool.records import SpoolItem
from tests.support.directory import (
    LINKS,
    NOON_MS,
    a_click,
    a_lead,
    an_id,
    furnish,
)
from tests.support.envelopes import an_envelope
from tests.support.servers.cli import Cli, servers_of
from tests.support.servers.runbook import follow
from tests.support.workers.replaying import Site
from tests.support.workers.working import STREAM
from workers.archive.object_store.fetch import SegmentFetcher
from workers.archive.object_store.store import ObjectStore
from workers.archive.object_store.upload import Uploader, UploadReporter
from workers.archive.writer import SegmentWriter
from workers.model.batch import Delivery, Entry, TransientError
from workers.postgres.database import open_pool
from workers.redis_io.connections import for_jobs

#: A time before anything that happens here.
BEFORE = {"2h": "2025-03-10T11:00"}
APRIL = NOON_MS + 30 * 24 * 3600 * 1000


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


@pytest.fixture
def scene(redis_url: str, database_url: str, tmp_path: Path) -> Scene:
    made = Scene(redis_url, database_url, tmp_path)

    async def begin(site: Site) -> None:
        async with site.pool.acquire() as connection:
            await furnish(connection)
        await beat(site)

    made.play(begin)
    return made


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
    opened.store.append([_item() for _ in range(3)], 1 << 20)
    return opened


def _item() -> SpoolItem:
    event_id = uuid7()
    sealed = an_envelope(
        id=event_id, kind=Kind.CLICK, dialect="bio_re", at=ids.millis(event_id)
    )
    return SpoolItem(event_id, encode(sealed))


async def archive(site: Site) -> None:
    """All that the stream has is archived."""
    assert site.archive is not None
    epoch = int(await site.redis.get(epoch_key(0)))
    writer = SegmentWriter(site.archive, "w1", 0, epoch)
    writer.add(
        [
            Delivery(Entry.of(epoch, 0, *EntryId.of(raw)), fields[b"e"])
            for raw, fields in await site.redis.xrange(STREAM)
        ]
    )
    writer.finish()


async def archives(site: Site) -> None:
    """The archive reads along, and has not acknowledged what it was given."""
    redis: Redis = site.redis
    await redis.sadd(GROUPS_KEY, ARCHIVE_GROUP)
    await redis.xgroup_create(STREAM, ARCHIVE_GROUP, "0")
    await redis.xreadgroup(ARCHIVE_GROUP, "archiver", {STREAM: ">"}, 2)


def test_something_is_wrong(scene: Scene) -> None:
    scene.play(clicks(1, 2))

    with follow("Something is wrong", scene.cli) as page:
        page.next()
        page.next()


def test_redis_is_away(scene: Scene, tmp_path: Path) -> None:
    scene.play(clicks(1, 2))
    held = spool(tmp_path)
    gone = {**scene.cli.variables, "REDIS_URL": "redis://127.0.0.1:1/0"}

    with follow("Redis is away", Cli(gone)) as page:
        page.next()
        page.next()
        page.cli = scene.cli
        page.next()

    assert not held.store.is_empty


def test_postgres_is_away(scene: Scene) -> None:
    scene.play(clicks(1, 2))
    gone = {**scene.cli.variables, "DATABASE_URL": "postgresql://127.0.0.1:1/x"}

    with follow("PostgreSQL is away", Cli(gone)) as page:
        page.next()
        page.cli = scene.cli
        page.next()
        page.next()


def test_workers_are_gone_or_too_slow(scene: Scene) -> None:
    async def happen(site: Site) -> None:
        await site.redis.delete(heartbeat_key("w1"))
        await site.add(a_click(1), a_click(2))

    scene.play(happen)

    with follow("Workers are gone or too slow", scene.cli) as page:
        assert "2" in page.next().out
        scene.play(Site.record)
        scene.play(beat)
        page.next()


def test_recording_is_paused(scene: Scene) -> None:
    scene.cli.fetch(
        "insert into pauses (cause, detail, consumer) values ('bug', 'a test', 'w1')"
    )

    with follow("Recording is paused", scene.cli) as page:
        page.next()
        page.next(REASON="a test")
        assert "paused" not in page.next().out


def test_an_edge_refuses(scene: Scene, tmp_path: Path) -> None:
    held = spool(tmp_path)

    with follow("An edge refuses", scene.cli) as page:
        page.next()

    assert not held.store.is_empty


def test_an_edge_is_gone(scene: Scene, tmp_path: Path) -> None:
    spool(tmp_path).leave()

    with follow("An edge is gone", scene.cli) as page:
        page.next()
        page.next(DIR=tmp_path)
        page.next()

    assert 3 == scene.cli.status()["in_flight"]


def test_events_are_in_quarantine(scene: Scene) -> None:
    lost = {"link_id": None, "workspace_id": None, "namespaces": ("-",)}

    async def happen(site: Site) -> None:
        await site.add(a_click(1, **lost, code="SUMMER"))
        await site.record()

    scene.play(happen)
    scene.cli.fetch("update links set code = 'SUMMER' where id = $1", LINKS[0])
    [found] = scene.cli.document("quarantine", "list")["entries"]

    with follow("Events are in quarantine", scene.cli) as page:
        page.next()
        page.next(ID=found["id"])
        page.next(CODE="SUMMER")
        assert "unknown_link" not in page.next().out

    assert 1 == scene.cli.status()["recorded"]


def test_a_code_is_mistyped(scene: Scene) -> None:
    scene.cli.fetch("update links set code = 'SUMMER' where id = $1", LINKS[0])

    async def happen(site: Site) -> None:
        edge = UnknownCodes(site.redis, unix_ms)
        edge.count(None, "SUMER", None, None)
        await edge.write()

    scene.play(happen)

    with follow("A code is mistyped", scene.cli) as page:
        page.next()
        page.next()

    assert "No unknown codes." in scene.cli.run("links", "unknown").out


def test_somebody_trimmed_a_stream(scene: Scene) -> None:
    async def happen(site: Site) -> None:
        await clicks(1, 2)(site)
        await site.add(*map(a_click, range(10, 18)))
        await archive(site)
        await site.redis.xtrim(STREAM, maxlen=4, approximate=False)
        await site.record()
        await site.count_losses()

    scene.play(happen)

    with follow("Somebody trimmed a stream", scene.cli) as page, scene.at_work():
        page.next()
        page.next(**BEFORE)
        scene.play(Site.count_losses)
        page.next()

    assert 0 == scene.cli.status()["lost"]


def test_the_archive_stands_still(scene: Scene) -> None:
    async def happen(site: Site) -> None:
        await clicks(1, 2, 3)(site)
        await archive(site)
        await archives(site)

    scene.play(happen)
    behind = scene.cli.status()["archive"]
    assert (3, True) == (behind["entries"], behind["lag_seconds"] > 0)

    with follow("The archive stands still", scene.cli) as page:
        for _ in range(4):
            page.next()

    assert scene.cli.status()["archive"] is None


def test_the_object_store_is_away(scene: Scene, tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    store = ObjectStore(f"file://{bucket}")
    fetcher = SegmentFetcher(scene.archive, store)

    async def upload(site: Site) -> None:
        await beat(site)
        uploads = UploadReporter(site.redis, "w1", scene.archive, store.name)
        try:
            await Uploader(scene.archive, fetcher, lambda _: None).step()
        except TransientError as trouble:
            uploads.failed(NOON_MS, str(trouble))
        await uploads.publish(NOON_MS)

    scene.play(clicks(1, 2))
    scene.play(archive)
    scene.play(upload)
    cli = Cli({**scene.cli.variables, "REFTIDE_ARCHIVE_STORE": f"file://{bucket}"})

    with follow("The object store is away", cli) as page:
        page.next()
        page.next()
        bucket.mkdir()
        scene.play(upload)
        page.next()
        page.next()


def test_events_were_recorded_wrongly(scene: Scene) -> None:
    scene.play(clicks(1, 2))
    # Where they had been recorded before somebody put the link right.
    scene.cli.fetch(
        "update links set program_id = null, partner_id = null where id = $1", LINKS[0]
    )
    link = {**BEFORE, "CODE": "L0", "NAME": "warehouse"}

    with follow("Events were recorded wrongly", scene.cli) as page:
        with scene.at_work():
            for _ in range(4):
                page.next(**link)
        ordered: list[str] = []
        scene.play(lambda site: _order(site, ordered))
        for _ in range(6):
            page.next(**link, ID=ordered[0])


async def _order(site: Site, ordered: list[str]) -> None:
    ordered.append(str(await site.order()))


def test_a_counter_is_wrong(scene: Scene) -> None:
    scene.play(clicks(1, 2))
    scene.cli.fetch("update links set clicks = 7 where id = $1", LINKS[0])

    with follow("A counter is wrong", scene.cli) as page:
        for _ in range(4):
            page.next()


def test_a_flood(scene: Scene) -> None:
    with follow("A flood", scene.cli) as page:
        for _ in range(8):
            page.next(LINK="L0")


def test_postgres_fills_up(scene: Scene) -> None:
    async def happen(site: Site) -> None:
        await site.add(a_click(1), a_click(2, at=APRIL))
        await site.record()
        await site.redis.xtrim(STREAM, maxlen=0)

    scene.play(happen)

    with follow("PostgreSQL fills up", scene.cli) as page:
        for _ in range(3):
            page.next(MONTH="2025-04")
        for _ in range(2):
            page.next(MONTH="2025-03")


def test_where_is_this_event(scene: Scene) -> None:
    scene.play(clicks(1))

    with follow("Where is this event", scene.cli) as page:
        page.next(ID=an_id(1))


def test_who_earned_this_lead(scene: Scene) -> None:
    lead = a_lead(2, at=NOON_MS + 1, click_id=an_id(1), external_id="user_123")

    async def happen(site: Site) -> None:
        await site.add(a_click(1), lead)
        await site.record()

    scene.play(happen)

    with follow("Who earned this lead", scene.cli) as page:
        page.next(CUSTOMER="user_123")
        page.next(ID=lead.id)
        page.next(CUSTOMER="user_123")
