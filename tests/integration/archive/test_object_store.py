"""The archive's segments in a bucket of a server that speaks S3.

It is moto's, which is not among the packages of the tests: install `moto[server]` into a
virtual environment of its own, put its `bin` into PATH, and run `scripts/test -m s3`.
"""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.support.eventually import eventually
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


class Server:
    """Moto's server, which forgets everything when it ends."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        command = ["moto_server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(  # noqa: ASYNC220 -- in a moment
            command, stderr=subprocess.DEVNULL
        )

        async def listens() -> bool:
            with socket.socket() as one:
                return one.connect_ex(("127.0.0.1", self.port)) == 0

        await eventually(listens)
        urlopen(Request(f"{self.url}/bucket", method="PUT")).close()  # noqa: ASYNC210, S310 -- ours

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    found = Server()
    yield found
    found.stop()


@pytest.fixture
def archive(tmp_path: Path) -> StoredArchive:
    return StoredArchive(tmp_path)


def bucket_of(server: Server) -> ObjectStore:
    return ObjectStore(f"s3://bucket/a/b?endpoint={server.url}&region=us-east-1")


async def names(store: ObjectStore) -> list[str]:
    return sorted([name async for name in store.names()])


async def test_segments_go_there_and_come_back(
    server: Server, archive: StoredArchive
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


async def test_all_names_are_listed(server: Server) -> None:
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
