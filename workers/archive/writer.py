"""Writes one segment of the archive.

An unfinished segment is in `<archive>/open`. It is moved among the finished ones at once, and
is finished when its index is there too, both synced to disk. Blocking.
"""

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final
from zlib import crc32

from zstandard import ZstdCompressor

from ingest.contracts.stream import EntryId
from workers.archive.contents import ContentsBuilder, publish_contents
from workers.archive.files import (
    fsync_directory,
    make_directory,
    open_private,
    write_synced,
)
from workers.archive.segment import (
    OPEN,
    Frame,
    Segment,
    Span,
    accepted_ms,
    arrival_day,
    key_of,
    kind_of,
    line_of,
)
from workers.model.batch import Delivery

#: Bytes of lines in a frame: larger frames compress no better, and readers hold one frame.
FRAME_BYTES: Final = 256 * 1024

#: Measured: higher levels cost several times the time for a few per cent of size.
LEVEL: Final = 1


class SegmentWriter:
    """One unfinished segment, of one shard in one epoch of its stream.

    `ids` are the entries', in order; `raw_size` is the size of their lines, `day` the day of
    their arrival, None before the first.
    """

    def __init__(self, directory: Path, owner: str, shard: int, epoch: int) -> None:
        """`owner` is the worker's name, unique among processes. Raises OSError."""
        self._directory = directory
        self._shard = shard
        self._epoch = epoch
        make_directory(directory)
        make_directory(directory / OPEN)
        self._path = directory / OPEN / f"{owner}.s{shard}.part"
        self._file = open_private(self._path)
        # The lock shows that the writer is alive, even if Redis has lost its data.
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._compress = ZstdCompressor(level=LEVEL, write_checksum=True).compress
        self._sha256 = sha256()
        self._kinds: Counter[str] = Counter()
        self._frames: list[Frame] = []
        self._contents = ContentsBuilder()
        self._offset = 0
        self._lines: list[bytes] = []
        self._line_bytes = 0
        self._accepted: Span | None = None
        self.ids: list[str] = []
        self.raw_size = 0
        self.day: int | None = None

    def add(self, deliveries: Sequence[Delivery]) -> None:
        """Append entries of the segment's day. Raises OSError."""
        if self.day is None and deliveries:
            self.day = arrival_day(deliveries[0].entry)
        for delivery in deliveries:
            kind = kind_of(delivery.payload)
            line = line_of(delivery, is_json=kind is not None)
            at = accepted_ms(delivery)
            self._kinds[kind or "?"] += 1
            self._lines.append(line)
            self._contents.add(delivery.payload)
            self._line_bytes += len(line)
            span = Span(at, at)
            self._accepted = span | self._accepted if self._accepted else span
            self.ids.append(delivery.entry.stream_id)
            self.raw_size += len(line)
            if self._line_bytes >= FRAME_BYTES:
                self._end_frame()

    def finish(self, before_publish: Callable[[str], None] = lambda _: None) -> Segment:
        """Publish the segment; calls `before_publish` with its key first.

        Raises OSError; then the segment is not in the archive.
        """
        if self._lines:
            self._end_frame()
        os.fsync(self._file.fileno())
        self._file.close()
        segment = self._segment()
        day = segment.data(self._directory).parent
        make_directory(day)
        index = self._path.with_suffix(".index")
        write_synced(index, segment.encode())
        before_publish(segment.key)
        # The index last: its existence says that the segment is complete.
        self._path.replace(segment.data(self._directory))
        index.replace(segment.index(self._directory))
        fsync_directory(day)
        # Replays do without it.
        with suppress(OSError):
            contents = self._contents.encode(segment.key)
            publish_contents(self._directory, segment.key, contents)
        return segment

    def discard(self) -> None:
        """Delete the unfinished segment."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _end_frame(self) -> None:
        data = self._compress(b"".join(self._lines))
        self._file.write(data)
        self._sha256.update(data)
        frame = Frame(
            offset=self._offset,
            length=len(data),
            entries=len(self._lines),
            crc32=crc32(data),
            accepted=self._accepted or Span(0, 0),
        )
        self._frames.append(frame)
        self._contents.end_frame(len(self._lines))
        self._offset += len(data)
        self._lines, self._line_bytes, self._accepted = [], 0, None

    def _segment(self) -> Segment:
        first, last = EntryId.of(self.ids[0]), EntryId.of(self.ids[-1])
        digest = self._sha256.hexdigest()
        spans = [frame.accepted for frame in self._frames]
        return Segment(
            key=key_of(first, self._shard, self._epoch, digest),
            shard=self._shard,
            epoch=self._epoch,
            first=first,
            last=last,
            accepted=Span(min(s.first for s in spans), max(s.last for s in spans)),
            entries=len(self.ids),
            kinds=dict(sorted(self._kinds.items())),
            size=self._offset,
            raw_size=self.raw_size,
            sha256=digest,
            frames=tuple(self._frames),
        )
