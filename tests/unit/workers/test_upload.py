"""Segments on their way to an object store and back, whatever fails meanwhile."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from obstore.store import MemoryStore
from structlog.testing import capture_logs
from typing_extensions import override

from tests.support.directory import NOON_MS
from tests.support.servers.stores import Depot
from tests.support.workers.archives import EVER, everything
from workers.archive.lock import try_lock
from workers.archive.object_store.fetch import SegmentFetcher
from workers.archive.object_store.inventory import delete_stored, is_absent, is_stored
from workers.archive.object_store.store import ObjectStore
from workers.archive.object_store.upload import Uploader
from workers.archive.reader import SegmentMissing, load_segment, problem, read, segments
from workers.archive.rewrite import STATE_FILE, rewrite
from workers.archive.segment import SegmentDamaged
from workers.model.batch import ArchiveBoundary, TransientError
from workers.replay.archive_pages import ArchivePages, ArchivePosition

DAY = 86_400_000


@pytest.fixture
def depot(tmp_path: Path) -> Depot:
    return Depot(tmp_path)


async def test_finished_segments_are_uploaded_once(depot: Depot) -> None:
    first, second = depot.write(0), depot.write(1)
    store = depot.store()
    uploader = depot.uploader(store)

    assert 2 == await uploader.step()
    assert depot.names(first, second) == list(depot.stored())
    assert is_stored(depot.directory, first.key, store.name)

    third = depot.write(2)
    assert 1 == await uploader.step()
    assert 0 == await depot.uploader(store).step()
    assert sorted(store.puts) == depot.names(first, second, third)


async def test_a_copy_of_the_store_is_an_archive(depot: Depot) -> None:
    segment = depot.write()
    await depot.uploader().step()

    assert [segment] == list(segments(depot.bucket))
    assert problem(depot.bucket, segment) is None


@pytest.mark.parametrize("answers", range(10))
async def test_a_store_that_fails_anywhere_gets_it_later(
    depot: Depot, answers: int
) -> None:
    segments_ = [depot.write(0), depot.write(1)]
    with pytest.raises(TransientError):
        await depot.uploader(depot.store(answers)).step()
    assert not is_stored(depot.directory, segments_[1].key)

    await depot.uploader().step()

    assert depot.names(*segments_) == list(depot.stored())
    assert all(is_stored(depot.directory, each.key) for each in segments_)


async def test_who_dies_before_it_is_noted_uploads_nothing_twice(depot: Depot) -> None:
    segment, store = depot.write(), depot.store()

    def dies(_: ArchiveBoundary) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await Uploader(
            depot.directory, SegmentFetcher(depot.directory, store), dies
        ).step()
    assert not is_stored(depot.directory, segment.key)

    await depot.uploader(store).step()

    assert sorted(store.puts) == depot.names(segment)
    assert is_stored(depot.directory, segment.key)


class Lying(ObjectStore):
    """A store that has something else than what was put."""

    @override
    async def get(self, name: str) -> bytes | None:
        found = await super().get(name)
        return None if found is None else found[:-1]


async def test_what_does_not_come_back_as_it_went_is_not_uploaded(
    depot: Depot,
) -> None:
    segment = depot.write()

    with pytest.raises(TransientError, match="does not hold what was put there"):
        await depot.uploader(Lying(f"file://{depot.bucket}")).step()

    assert not is_stored(depot.directory, segment.key)
    assert 1 == await depot.uploader().step()


async def test_a_store_that_is_not_there_is_not_made(depot: Depot) -> None:
    depot.write()
    depot.bucket.rmdir()

    with pytest.raises(TransientError, match="does not exist"):
        await depot.uploader().step()

    assert not depot.bucket.exists()


async def test_a_dead_server_is_trouble(depot: Depot) -> None:
    depot.write()
    store = ObjectStore("s3://bucket/prefix?endpoint=http://127.0.0.1:9&region=here")

    with pytest.raises(TransientError, match="s3://bucket/prefix: "):
        await depot.uploader(store).step()


def test_a_process_ends_while_its_store_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", _ASKS.format(port)],
            cwd=_ROOT,
            env=_KEYS,
            check=False,
        )

    assert 0 == done.returncode
    assert time.monotonic() - began < 20


_KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
_ROOT = Path(__file__).resolve().parents[3]
_ASKS = """
import asyncio
from contextlib import suppress
from workers.archive.object_store.store import ObjectStore

async def ask():
    url = "s3://bucket?endpoint=http://127.0.0.1:{0}&region=here"
    store = ObjectStore(url)
    with suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            await store.get("name")
        raise SystemExit(1)

asyncio.run(ask())
"""


async def test_a_bucket_without_directories_will_do(depot: Depot) -> None:
    segment = depot.write()
    store = ObjectStore("s3://bucket")
    store.__dict__["_client"] = MemoryStore()

    assert 1 == await depot.uploader(store).step()

    assert depot.names(segment) == sorted([name async for name in store.names()])


async def test_what_is_damaged_here_stays_here(depot: Depot) -> None:
    segment, whole = depot.write(0), depot.write(1)
    data = segment.data(depot.directory)
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    uploader = depot.uploader()

    with capture_logs() as logs:
        assert 1 == await uploader.step()
        assert 0 == await uploader.step()

    assert depot.names(whole) == list(depot.stored())
    assert ["archive.damaged"] == [
        each["event"] for each in logs if each["log_level"] == "warning"
    ]


async def test_two_processes_do_not_upload_at_once(depot: Depot) -> None:
    depot.write()
    await depot.uploader().step()
    depot.write(1)

    with try_lock(depot.directory / "uploading"):
        assert 0 == await depot.uploader().step()
    assert 1 == await depot.uploader().step()


async def test_what_was_rewritten_takes_the_place_of_what_was_there(
    depot: Depot,
) -> None:
    segment, uploader = depot.write(), depot.uploader()
    await uploader.step()
    before = depot.stored()

    assert rewrite(depot.directory, segment, {0: everything(depot.directory)})
    now = load_segment(depot.directory, segment.key)
    assert not is_stored(depot.directory, segment.key)
    assert 1 == await uploader.step()

    assert (1, depot.names(now)) == (now.rewritten, list(depot.stored()))
    assert set(before) & set(depot.stored()) == {f"{segment.key}.json"}
    assert problem(depot.bucket, now) is None


async def test_a_directory_from_a_backup_does_not_undo_an_erasure(
    depot: Depot,
) -> None:
    segment, uploader = depot.write(), depot.uploader()
    shutil.copytree(depot.directory, depot.path / "backup")
    rewrite(depot.directory, segment, {0: everything(depot.directory)})
    await uploader.step()
    now = load_segment(depot.directory, segment.key)
    shutil.rmtree(depot.directory)
    (depot.path / "backup").rename(depot.directory)

    await depot.uploader().step()

    assert now == load_segment(depot.directory, segment.key)
    assert not segment.data(depot.directory).exists()
    assert depot.names(now) == list(depot.stored())


async def test_files_go_after_days_and_only_if_the_store_has_them(
    depot: Depot,
) -> None:
    old, young, waiting = depot.write(0), depot.write(1), depot.write(2)
    os.utime(old.data(depot.directory), (NOON_MS / 1000, NOON_MS / 1000))
    os.utime(waiting.data(depot.directory), (NOON_MS / 1000, NOON_MS / 1000))
    store = depot.store(10)  # two segments' worth
    with pytest.raises(TransientError):
        await depot.uploader(store).step()
    uploaded = [each for each in (old, young) if is_stored(depot.directory, each.key)]
    assert [old, young] == uploaded
    after = NOON_MS + 3 * DAY
    os.utime(young.data(depot.directory), (after / 1000, after / 1000))

    assert 1 == delete_stored(depot.directory, store.name, 2, after)
    assert 0 == delete_stored(depot.directory, store.name, 2, after)

    assert [False, True, True] == [
        each.data(depot.directory).exists() for each in (old, young, waiting)
    ]
    assert is_absent(depot.directory, old.key)


async def evicted(depot: Depot, count: int = 1) -> Uploader:
    """An archive of which only the store has the files."""
    for number in range(count):
        depot.write(number)
    uploader = depot.uploader()
    await uploader.step()
    for each in segments(depot.directory):
        each.data(depot.directory).unlink()
    return uploader


async def taken(shelf: ArchivePages) -> int:
    """How many entries a replay would get."""
    place: ArchivePosition | None = ArchivePosition(None, 0)
    count = 0
    while place is not None:
        some, place = await shelf.take(0, (0, EVER), place, 2)
        count += len(some)
    return count


async def test_a_replay_fetches_what_only_the_store_has(depot: Depot) -> None:
    await evicted(depot, 3)
    fetcher = SegmentFetcher(depot.directory, depot.store())

    assert 9 == await taken(ArchivePages(depot.directory, fetcher))

    assert 9 == len(everything(depot.directory))


async def test_what_is_fetched_to_be_read_is_bounded(depot: Depot) -> None:
    await evicted(depot, 5)
    sizes = [each.size for each in segments(depot.directory)]
    fetcher = SegmentFetcher(depot.directory, depot.store(), room=2 * max(sizes))

    assert 15 == await taken(ArchivePages(depot.directory, fetcher))

    here = [each.data(depot.directory).exists() for each in segments(depot.directory)]
    assert [False, False, False, True, True] == here


async def test_without_the_store_a_replay_waits(depot: Depot) -> None:
    await evicted(depot)

    with pytest.raises(TransientError, match="set REFTIDE_ARCHIVE_STORE"):
        await taken(ArchivePages(depot.directory))
    with pytest.raises(TransientError, match="no answer"):
        await taken(
            ArchivePages(
                depot.directory, SegmentFetcher(depot.directory, depot.store(0))
            )
        )
    with pytest.raises(SegmentMissing):
        read(depot.directory, 0, EVER)


async def test_a_replay_goes_on_without_what_nobody_has(depot: Depot) -> None:
    uploader = await evicted(depot, 2)
    gone, *_ = segments(depot.directory)
    gone.data(depot.bucket).write_bytes(b"something else")

    with capture_logs() as logs:
        shelf = ArchivePages(
            depot.directory, SegmentFetcher(depot.directory, depot.store())
        )
        assert 3 == await taken(shelf)

    told = [each["segment"] for each in logs if each["event"] == "archive.damaged"]
    assert [gone.key] == told
    assert problem(depot.directory, gone)
    assert 0 == await uploader.step()


async def test_an_archive_whose_disk_is_lost_comes_back(depot: Depot) -> None:
    first, second = depot.write(0), depot.write(1)
    await depot.uploader().step()
    shutil.rmtree(depot.directory)
    depot.directory.mkdir()
    (depot.directory / STATE_FILE).write_text("1 x")
    fetcher = SegmentFetcher(depot.directory, depot.store())

    assert 2 == await fetcher.refresh()
    assert 0 == await fetcher.refresh()

    assert [first, second] == list(segments(depot.directory))
    # Nobody knows whom its segments speak of.
    assert not (depot.directory / STATE_FILE).exists()
    assert 6 == await taken(ArchivePages(depot.directory, fetcher))
    assert 0 == await depot.uploader().step()


async def test_what_is_fetched_and_wrong_is_not_taken(depot: Depot) -> None:
    await evicted(depot)
    (segment,) = segments(depot.directory)
    segment.data(depot.bucket).write_bytes(b"something else")

    with pytest.raises(SegmentDamaged, match="does not match its index"):
        await SegmentFetcher(depot.directory, depot.store()).fetch(segment.key)

    assert not segment.data(depot.directory).exists()
