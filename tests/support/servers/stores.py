"""Object stores under test: directories, which fail when a test says so."""

from dataclasses import dataclass, field
from pathlib import Path

from typing_extensions import override

from ingest.contracts.encoding.envelopes import encode
from tests.support.directory import NOON_MS, a_click
from workers.archive.object_store.fetch import SegmentFetcher
from workers.archive.object_store.store import ObjectStore
from workers.archive.object_store.upload import Uploader
from workers.archive.segment import Segment
from workers.archive.writer import SegmentWriter
from workers.model.batch import ArchiveBoundary, Delivery, Entry, TransientError


class Failing(ObjectStore):
    """One that answers so many calls, and counts what is put."""

    def __init__(self, root: Path, answers: int = 1 << 62) -> None:
        super().__init__(f"file://{root}")
        self.answers = answers
        self.puts: list[str] = []

    @override
    async def put(self, name: str, data: bytes) -> None:
        self._answer()
        self.puts.append(name)
        await super().put(name, data)

    @override
    async def get(self, name: str) -> bytes | None:
        self._answer()
        return await super().get(name)

    def _answer(self) -> None:
        self.answers -= 1
        if self.answers < 0:
            raise TransientError("no answer")


@dataclass
class StoredArchive:
    """An archive's directory, and its object store: a bucket beside it."""

    path: Path
    boundaries: list[ArchiveBoundary] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bucket.mkdir()

    @property
    def directory(self) -> Path:
        return self.path / "archive"

    @property
    def bucket(self) -> Path:
        return self.path / "bucket"

    def store(self, answers: int = 1 << 62) -> Failing:
        return Failing(self.bucket, answers)

    def uploader(self, store: ObjectStore | None = None) -> Uploader:
        """As a process has it that just started."""
        fetcher = SegmentFetcher(self.directory, store or self.store())
        return Uploader(self.directory, fetcher, self.boundaries.append)

    def write(self, first: int = 0, count: int = 3) -> Segment:
        return a_segment(self.directory, first, count)

    def stored(self) -> dict[str, bytes]:
        """What is in the bucket."""
        return {
            path.relative_to(self.bucket).as_posix(): path.read_bytes()
            for path in sorted(self.bucket.rglob("*"))
            if path.is_file()
        }

    def names(self, *segments: Segment) -> list[str]:
        """Those of the objects that these segments come to."""
        here = Path()
        return sorted(
            path.as_posix()
            for each in segments
            for path in (each.data(here), each.index(here))
        )


def a_segment(directory: Path, first: int, count: int) -> Segment:
    """Clicks that arrived so many milliseconds after noon."""
    writer = SegmentWriter(directory, "w", 0, 7)
    writer.add(
        [
            Delivery(Entry.of(7, 0, NOON_MS + first, n), encode(a_click(n)))
            for n in range(count)
        ]
    )
    return writer.finish()
