"""The runbook, followed where a server, an edge, a worker or the archive is away or wrong.

Elsewhere: `test_runbook_events.py`, `test_lost_redis.py`, `test_outage_replayed.py`.
"""

from functools import partial
from pathlib import Path

import orjson

from ingest.contracts.stream import EDGES_KEY, FIELD, edge_key, heartbeat_key
from tests.support.directory import (
    NOON_MS,
    a_click,
)
from tests.support.servers.cli import Cli
from tests.support.servers.runbook import follow
from tests.support.workers.erasures import archive
from tests.support.workers.replaying import Site
from tests.support.workers.scene import Scene, archives, beat, clicks, spool
from tests.support.workers.working import STREAM
from workers.archive.object_store.fetch import SegmentFetcher
from workers.archive.object_store.store import ObjectStore
from workers.archive.object_store.upload import Uploader, UploadReporter
from workers.model.batch import TransientError

#: A time before anything that happens here.
BEFORE = {"2h": "2025-03-10T11:00"}


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
    def pause(cause: str) -> None:
        scene.cli.fetch(
            "insert into pauses (cause, detail, consumer) values ($1, 'a test', 'w1')",
            cause,
        )

    async def let_in(site: Site) -> None:
        await site.redis.xadd(STREAM, {FIELD: b"junk"})
        await site.record()

    pause("bug")

    with follow("Recording is paused", scene.cli) as page:
        page.next()
        page.next(REASON="a test")
        assert "paused" not in page.next().out
        pause("culprits")
        assert "--allow N" in scene.cli.run("status").out
        page.next(REASON="a test")
        scene.play(let_in)
        page.next()


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


def test_a_clock_is_wrong(scene: Scene) -> None:
    async def happen(site: Site, ahead: float) -> None:
        await beat(site)
        told = {"level": "stream", "clock_ahead_seconds": ahead}
        await site.redis.zadd(EDGES_KEY, {"e": 1})
        await site.redis.set(edge_key("e"), orjson.dumps(told))

    scene.play(clicks(1, 2))
    scene.play(partial(happen, ahead=3600.0))

    with follow("A clock is wrong", scene.cli) as page:
        page.next()
        scene.play(partial(happen, ahead=0.0))
        page.next()


def test_the_archive_is_damaged(scene: Scene, tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    fetcher = SegmentFetcher(scene.archive, ObjectStore(f"file://{bucket}"))

    async def upload(_: Site) -> None:
        await Uploader(scene.archive, fetcher, lambda _: None).step()

    scene.play(clicks(1, 2))
    scene.play(archive)
    scene.play(upload)
    [segment] = scene.archive.glob("*/*.zst")
    segment.write_bytes(bytes(segment.stat().st_size))
    cli = Cli({**scene.cli.variables, "REFTIDE_ARCHIVE_STORE": f"file://{bucket}"})

    with follow("The archive is damaged", cli) as page, scene.at_work():
        page.next()
        segment.unlink()
        page.next(**BEFORE)
        page.next()
        page.next(**BEFORE)


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
