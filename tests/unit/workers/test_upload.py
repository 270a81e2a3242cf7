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
from tests.support.servers.stores import StoredArchive
from tests.support.workers.archives import EVER, everything
from workers.archive.files import try_lock
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
def archive(tmp_path: Path) -> StoredArchive:
    return StoredArchive(tmp_path)


async def test_finished_segments_are_uploaded_once(archive: StoredArchive) -> None:
    first, second = archive.write(0), archive.write(1)
    store = archive.store()
    uploader = archive.uploader(store)

    assert 2 == await uploader.step()
    assert archive.names(first, second) == list(archive.stored())
    assert is_stored(archive.directory, first.key, store.name)

    third = archive.write(2)
    assert 1 == await uploader.step()
    assert 0 == await archive.uploader(store).step()
    assert sorted(store.puts) == archive.names(first, second, third)


async def test_a_copy_of_the_store_is_an_archive(archive: StoredArchive) -> None:
    segment = archive.write()
    await archive.uploader().step()

    assert [segment] == list(segments(archive.bucket))
    assert problem(archive.bucket, segment) is None


@pytest.mark.parametrize("answers", range(10))
async def test_a_store_that_fails_anywhere_gets_it_later(
    archive: StoredArchive, answers: int
) -> None:
    segments_ = [archive.write(0), archive.write(1)]
    with pytest.raises(TransientError):
        await archive.uploader(archive.store(answers)).step()
    assert not is_stored(archive.directory, segments_[1].key)

    await archive.uploader().step()

    assert archive.names(*segments_) == list(archive.stored())
    assert all(is_stored(archive.directory, each.key) for each in segments_)


async def test_who_dies_before_it_is_noted_uploads_nothing_twice(
    archive: StoredArchive,
) -> None:
    segment, store = archive.write(), archive.store()

    def dies(_: ArchiveBoundary) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await Uploader(
            archive.directory, SegmentFetcher(archive.directory, store), dies
        ).step()
    assert not is_stored(archive.directory, segment.key)

    await archive.uploader(store).step()

    assert sorted(store.puts) == archive.names(segment)
    assert is_stored(archive.directory, segment.key)


class Lying(ObjectStore):
    """A store that has something else than what was put."""

    @override
    async def get(self, name: str) -> bytes | None:
        found = await super().get(name)
        return None if found is None else found[:-1]


async def test_what_does_not_come_back_as_it_went_is_not_uploaded(
    archive: StoredArchive,
) -> None:
    segment = archive.write()

    with pytest.raises(TransientError, match="does not hold what was put there"):
        await archive.uploader(Lying(f"file://{archive.bucket}")).step()

    assert not is_stored(archive.directory, segment.key)
    assert 1 == await archive.uploader().step()


async def test_a_store_that_is_not_there_is_not_made(archive: StoredArchive) -> None:
    archive.write()
    archive.bucket.rmdir()

    with pytest.raises(TransientError, match="does not exist"):
        await archive.uploader().step()

    assert not archive.bucket.exists()


async def test_a_dead_server_is_trouble(archive: StoredArchive) -> None:
    archive.write()
    store = ObjectStore("s3://bucket/prefix?endpoint=http://127.0.0.1:9&region=here")

    with pytest.raises(TransientError, match="s3://bucket/prefix: "):
        await archive.uploader(store).step()


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


async def test_a_bucket_without_directories_will_do(archive: StoredArchive) -> None:
    segment = archive.write()
    store = ObjectStore("s3://bucket")
    store.__dict__["_client"] = MemoryStore()

    assert 1 == await archive.uploader(store).step()

    assert archive.names(segment) == sorted([name async for name in store.names()])


async def test_what_is_damaged_here_stays_here(archive: StoredArchive) -> None:
    segment, whole = archive.write(0), archive.write(1)
    data = segment.data(archive.directory)
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    uploader = archive.uploader()

    with capture_logs() as logs:
        assert 1 == await uploader.step()
        assert 0 == await uploader.step()

    assert archive.names(whole) == list(archive.stored())
    assert ["archive.damaged"] == [
        each["event"] for each in logs if each["log_level"] == "warning"
    ]


async def test_two_processes_do_not_upload_at_once(archive: StoredArchive) -> None:
    archive.write()
    await archive.uploader().step()
    archive.write(1)

    with try_lock(archive.directory / "uploading"):
        assert 0 == await archive.uploader().step()
    assert 1 == await archive.uploader().step()


async def test_what_was_rewritten_takes_the_place_of_what_was_there(
    archive: StoredArchive,
) -> None:
    segment, uploader = archive.write(), archive.uploader()
    await uploader.step()
    before = archive.stored()

    assert rewrite(archive.directory, segment, {0: everything(archive.directory)})
    now = load_segment(archive.directory, segment.key)
    assert not is_stored(archive.directory, segment.key)
    assert 1 == await uploader.step()

    assert (1, archive.names(now)) == (now.rewritten, list(archive.stored()))
    assert set(before) & set(archive.stored()) == {f"{segment.key}.json"}
    assert problem(archive.bucket, now) is None


async def test_a_directory_from_a_backup_does_not_undo_an_erasure(
    archive: StoredArchive,
) -> None:
    segment, uploader = archive.write(), archive.uploader()
    shutil.copytree(archive.directory, archive.path / "backup")
    rewrite(archive.directory, segment, {0: everything(archive.directory)})
    await uploader.step()
    now = load_segment(archive.directory, segment.key)
    shutil.rmtree(archive.directory)
    (archive.path / "backup").rename(archive.directory)

    await archive.uploader().step()

    assert now == load_segment(archive.directory, segment.key)
    assert not segment.data(archive.directory).exists()
    assert archive.names(now) == list(archive.stored())


async def test_files_go_after_days_and_only_if_the_store_has_them(
    archive: StoredArchive,
) -> None:
    old, young, waiting = archive.write(0), archive.write(1), archive.write(2)
    os.utime(old.data(archive.directory), (NOON_MS / 1000, NOON_MS / 1000))
    os.utime(waiting.data(archive.directory), (NOON_MS / 1000, NOON_MS / 1000))
    store = archive.store(10)  # two segments' worth
    with pytest.raises(TransientError):
        await archive.uploader(store).step()
    uploaded = [each for each in (old, young) if is_stored(archive.directory, each.key)]
    assert [old, young] == uploaded
    after = NOON_MS + 3 * DAY
    os.utime(young.data(archive.directory), (after / 1000, after / 1000))

    assert 1 == delete_stored(archive.directory, store.name, 2, after)
    assert 0 == delete_stored(archive.directory, store.name, 2, after)

    assert [False, True, True] == [
        each.data(archive.directory).exists() for each in (old, young, waiting)
    ]
    assert is_absent(archive.directory, old.key)


async def evicted(archive: StoredArchive, count: int = 1) -> Uploader:
    """An archive of which only the store has the files."""
    for number in range(count):
        archive.write(number)
    uploader = archive.uploader()
    await uploader.step()
    for each in segments(archive.directory):
        each.data(archive.directory).unlink()
    return uploader


async def taken(shelf: ArchivePages) -> int:
    """How many entries a replay would get."""
    place: ArchivePosition | None = ArchivePosition(None, 0)
    count = 0
    while place is not None:
        some, place, *_ = await shelf.take(0, (0, EVER), place, 2)
        count += len(some)
    return count


async def test_a_replay_fetches_what_only_the_store_has(archive: StoredArchive) -> None:
    await evicted(archive, 3)
    fetcher = SegmentFetcher(archive.directory, archive.store())

    assert 9 == await taken(ArchivePages(archive.directory, fetcher))

    assert 9 == len(everything(archive.directory))


async def test_what_is_fetched_to_be_read_is_bounded(archive: StoredArchive) -> None:
    await evicted(archive, 5)
    sizes = [each.size for each in segments(archive.directory)]
    fetcher = SegmentFetcher(archive.directory, archive.store(), room=2 * max(sizes))

    assert 15 == await taken(ArchivePages(archive.directory, fetcher))

    here = [
        each.data(archive.directory).exists() for each in segments(archive.directory)
    ]
    assert [False, False, False, True, True] == here


async def test_without_the_store_a_replay_waits(archive: StoredArchive) -> None:
    await evicted(archive)

    with pytest.raises(TransientError, match="set REFTIDE_ARCHIVE_STORE"):
        await taken(ArchivePages(archive.directory))
    with pytest.raises(TransientError, match="no answer"):
        await taken(
            ArchivePages(
                archive.directory, SegmentFetcher(archive.directory, archive.store(0))
            )
        )
    with pytest.raises(SegmentMissing):
        read(archive.directory, 0, EVER)


async def test_a_replay_goes_on_without_what_nobody_has(archive: StoredArchive) -> None:
    uploader = await evicted(archive, 2)
    gone, *_ = segments(archive.directory)
    gone.data(archive.bucket).write_bytes(b"something else")

    with capture_logs() as logs:
        shelf = ArchivePages(
            archive.directory, SegmentFetcher(archive.directory, archive.store())
        )
        assert 3 == await taken(shelf)

    told = [each["segment"] for each in logs if each["event"] == "archive.damaged"]
    assert [gone.key] == told
    assert problem(archive.directory, gone)
    assert 0 == await uploader.step()


async def test_an_archive_whose_disk_is_lost_comes_back(archive: StoredArchive) -> None:
    first, second = archive.write(0), archive.write(1)
    await archive.uploader().step()
    shutil.rmtree(archive.directory)
    archive.directory.mkdir()
    (archive.directory / STATE_FILE).write_text("1 x")
    fetcher = SegmentFetcher(archive.directory, archive.store())

    assert 2 == await fetcher.refresh()
    assert 0 == await fetcher.refresh()

    assert [first, second] == list(segments(archive.directory))
    # Nobody knows whom its segments speak of.
    assert not (archive.directory / STATE_FILE).exists()
    assert 6 == await taken(ArchivePages(archive.directory, fetcher))
    assert 0 == await archive.uploader().step()


async def test_what_is_fetched_and_wrong_is_not_taken(archive: StoredArchive) -> None:
    await evicted(archive)
    (segment,) = segments(archive.directory)
    segment.data(archive.bucket).write_bytes(b"something else")

    with pytest.raises(SegmentDamaged, match="does not match its index"):
        await SegmentFetcher(archive.directory, archive.store()).fetch(segment.key)

    assert not segment.data(archive.directory).exists()
