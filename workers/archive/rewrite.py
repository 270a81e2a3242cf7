"""Replaces lines of a finished segment.

The new file is complete on disk before the index names it, and the old file is deleted after
that. So a reader finds either of them, and a crash leaves a file that `delete_replaced`
deletes. Blocking.

A segment may name persons that were erased while it was written: it stays open for minutes,
under the suppressions known when it was begun. So its mark is on disk before the segment is,
and stays until the segment was reviewed: neither a crash nor an outage skips a review.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final
from zlib import crc32

from zstandard import ZstdCompressor, frame_content_size

from workers.archive.files import (
    fsync_directory,
    open_private,
    segment_lock,
    try_lock,
    write_synced,
)
from workers.archive.reader import load_segment, reload_if_changed
from workers.archive.segment import (
    DATA_SUFFIX,
    OPEN,
    Frame,
    Segment,
    SegmentDamaged,
    key_of_file,
    kind_of,
    line_of,
    rewrite_count,
)
from workers.archive.writer import LEVEL
from workers.model.batch import Delivery

#: Name of the file with the state of the suppressions the archive was rewritten by.
STATE_FILE: Final = "erased"
#: Of the mark of a segment that was not reviewed yet.
_MARK_SUFFIX: Final = ".unreviewed"
#: Replaces the slash of a key; keys contain none.
_SLASH: Final = "_"


def rewrite(
    directory: Path, segment: Segment, frames: Mapping[int, Sequence[Delivery]]
) -> bool:
    """Replace the entries of some frames by as many of the same ids.

    False if the segment has changed: load it again. Raises OSError.
    """
    with segment_lock(directory):
        if (
            reload_if_changed(directory, segment)
            or not segment.index(directory).exists()
        ):
            return False
        now = _write_rewritten(directory, segment, frames)
        index = directory / OPEN / f"{os.getpid()}.rewriting.index"
        write_synced(index, now.encode())
        index.replace(now.index(directory))
        fsync_directory(now.index(directory).parent)
        segment.data(directory).unlink(missing_ok=True)
        fsync_directory(now.index(directory).parent)
    return True


def delete_replaced(directory: Path, key: str = "[0-9]*/") -> None:
    """Delete replaced files that a crash left, of one key or all. Raises OSError."""
    for path in directory.glob(f"{key}*{DATA_SUFFIX}"):
        with suppress(SegmentDamaged, FileNotFoundError):
            now = load_segment(directory, key_of_file(path))
            if rewrite_count(path) < now.rewritten:
                path.unlink()


def delete_unfinished(directory: Path, live_workers: Sequence[str]) -> bool:
    """Delete unfinished files of dead archivers; False if some had to stay.

    Their entries were not acknowledged and are read again. But if no worker is known to be
    alive, Redis may have lost its data, and an archiver may hold the last copy: then a file
    that is still locked stays. Raises OSError.
    """
    parts = [
        path
        for path in (directory / OPEN).glob("*.part")
        if path.stem.rpartition(".")[0] not in live_workers
    ]
    held = [path for path in parts if not live_workers or _is_locked(path)]
    for path in parts:
        if path not in held:
            path.unlink(missing_ok=True)
    return not held


def _is_locked(part: Path) -> bool:
    """Whether a process of this machine, or of this file system, still writes to it."""
    with suppress(FileNotFoundError), try_lock(part) as is_alone:
        return not is_alone
    return False


def _write_rewritten(
    directory: Path, segment: Segment, frames: Mapping[int, Sequence[Delivery]]
) -> Segment:
    """Write the new file; the segment to put into the index."""
    part = directory / OPEN / f"{os.getpid()}.rewriting"
    compress = ZstdCompressor(level=LEVEL, write_checksum=True).compress
    digest, offset, raw_size = sha256(), 0, segment.raw_size
    written: list[Frame] = []
    with segment.data(directory).open("rb") as old, open_private(part) as new:
        for at, frame in enumerate(segment.frames):
            old.seek(frame.offset)
            data = old.read(frame.length)
            if crc32(data) == frame.crc32 and at in frames:
                lines = b"".join(
                    line_of(each, is_json=kind_of(each.payload) is not None)
                    for each in frames[at]
                )
                raw_size += len(lines) - frame_content_size(data)
                data = compress(lines)
            checksum = frame.crc32 if at not in frames else crc32(data)
            new.write(data)
            digest.update(data)
            written.append(
                replace(frame, offset=offset, length=len(data), crc32=checksum)
            )
            offset += len(data)
        new.flush()
        os.fsync(new.fileno())
    now = replace(
        segment,
        size=offset,
        raw_size=raw_size,
        sha256=digest.hexdigest(),
        frames=tuple(written),
        rewritten=segment.rewritten + 1,
    )
    part.replace(now.data(directory))
    fsync_directory(now.data(directory).parent)
    return now


def mark(directory: Path, key: str) -> None:
    """Mark a segment that is about to be published."""
    with open_private(_path(directory, key)):
        pass
    fsync_directory(directory / OPEN)


def marked(directory: Path) -> list[str]:
    """The keys of marked segments; some may not exist yet, or never will."""
    found = map(marked_key, (directory / OPEN).glob(f"*{_MARK_SUFFIX}"))
    return sorted(key for key in found if key)


def marked_key(path: Path) -> str | None:
    """The key that a file marks; None if the file is not a mark."""
    name = path.name.removesuffix(_MARK_SUFFIX)
    return name.replace(_SLASH, "/") if name != path.name else None


def unmark(directory: Path, key: str) -> None:
    """Remove the mark of a segment that was reviewed or deleted."""
    _path(directory, key).unlink(missing_ok=True)


def _path(directory: Path, key: str) -> Path:
    return directory / OPEN / f"{key.replace('/', _SLASH)}{_MARK_SUFFIX}"
