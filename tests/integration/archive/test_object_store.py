"""The archive's segments in a bucket of a server that speaks S3.

`tests/support/servers/s3.py` says how to run it.
"""

import shutil
from pathlib import Path

import pytest

from tests.support.servers.s3 import S3Server
from tests.support.servers.stores import StoredArchive
from tests.support.workers.archives import EVER, everything
from workers.archive.object_store.fetch import SegmentFetcher
from workers.archive.object_store.store import ObjectStore
from workers.archive.object_store.upload import Uploader
from workers.archive.reader import load_segment, segments
from workers.archive.rewrite import rewrite
from workers.model.batch import TransientError
from workers.replay.archive_pages import ArchivePages, ArchivePosition

pytestmark = pytest.mark.s3


@pytest.fixture
def archive(tmp_path: Path) -> StoredArchive:
    return StoredArchive(tmp_path)


def bucket_of(server: S3Server) -> ObjectStore:
    return ObjectStore(server.store("a/b"))


async def names(store: ObjectStore) -> list[str]:
    return sorted([name async for name in store.names()])


async def test_segments_go_there_and_come_back(
    server: S3Server, archive: StoredArchive
) -> None:
    first, second = archive.write(0), archive.write(1)
    store = bucket_of(server)
    uploader = Uploader(
        archive.directory, SegmentFetcher(archive.directory, store), lambda _: None
    )
    with pytest.raises(TransientError):
        await uploader.step()

    await server.start()
    assert 2 == await uploader.step()
    assert archive.names(first, second) == await names(store)

    kept = everything(archive.directory)
    rewrite(archive.directory, first, {0: kept[:3]})
    assert 1 == await uploader.step()
    now = load_segment(archive.directory, first.key)
    assert archive.names(now, second) == await names(store)

    shutil.rmtree(archive.directory)
    fetcher = SegmentFetcher(archive.directory, bucket_of(server))
    place: ArchivePosition | None = ArchivePosition(None, 0)
    shelf, found = ArchivePages(archive.directory, fetcher), []
    while place is not None:
        some, place, *_ = await shelf.take(0, (0, EVER), place, 100)
        found += some
    assert kept == found
    assert [now, second] == list(segments(archive.directory))


async def test_all_names_are_listed(server: S3Server) -> None:
    await server.start()
    store = bucket_of(server)
    for number in range(1100):  # more than a page
        await store.put(f"{number:04d}", b"x")

    assert [f"{number:04d}" for number in range(1100)] == await names(store)
    await store.delete("0000")
    await store.delete("0000")
    assert (None, None, 1) == (
        await store.get("0000"),
        await store.size("0000"),
        await store.size("0001"),
    )
