"""What the frames of a segment name: a file beside its index, by which a replay leaves frames out.

    <archive>/2025-11-21/1763700000003-0.s0.e7.1f2e3d4c.contents

Of each frame it has the kinds and dialects of the events, and short hashes of their ids and of the
workspaces, links and codes that they name. So it may say that a frame has an event that it has
not, but never that it has not what it has: an event that cannot be told makes its frame opaque,
and where the file is missing, damaged or of another segment, every frame is read.

An erasure rewrites lines in place and leaves alone what is kept here. Blocking.
"""

import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final
from uuid import UUID
from zlib import crc32

import msgspec
from zstandard import ZstdCompressor, ZstdDecompressor, ZstdError

from ingest.contracts.clickid import NO_LINK
from ingest.contracts.encoding.envelopes import Outline, outline
from ingest.contracts.envelope import CLICK
from workers.archive.files import fsync_directory, write_synced
from workers.archive.segment import OPEN, Segment

CONTENTS_SUFFIX: Final = ".contents"

_VERSION: Final = 1
_LEVEL: Final = 3
_CHECKSUM_BYTES: Final = 4
_64_BITS: Final = 2**64 - 1
_32_BITS: Final = 2**32 - 1


class FrameContents(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the events of one frame name, as they were sent. Hashes are sorted."""

    entries: int
    #: Some of them cannot be told: the frame may have anything.
    is_opaque: bool = False
    #: Of some of them only a look-up tells the workspace.
    is_unowned: bool = False
    kinds: Sequence[str] = ()
    dialects: Sequence[str] = ()
    ids: Sequence[int] = ()
    workspaces: Sequence[int] = ()
    links: Sequence[int] = ()
    codes: Sequence[int] = ()


class _Contents(msgspec.Struct, frozen=True, kw_only=True):
    """The file: of which segment it is, and its frames."""

    version: int
    key: str
    frames: Sequence[FrameContents]


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Contents)


def id_hash(event_id: UUID) -> int:
    """Of an event's id: 32 of its random bits."""
    return event_id.int & _32_BITS


def name_hash(name: UUID) -> int:
    """Of the id of a link or workspace: 64 of its random bits."""
    return name.int & _64_BITS


def code_hash(code: str) -> int:
    """Of a code."""
    raw = code.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(raw, digest_size=8).digest())


class ContentsBuilder:
    """Collects what is in the frames of one segment, in their order."""

    def __init__(self) -> None:
        self._frames: list[FrameContents] = []
        self._begin()

    def _begin(self) -> None:
        self._entries = 0
        self._is_opaque = self._is_unowned = False
        self._kinds, self._dialects = set[str](), set[str]()
        self._ids, self._workspaces = set[int](), set[int]()
        self._links, self._codes = set[int](), set[int]()

    def add(self, payload: bytes) -> None:
        """Add an event to the present frame."""
        self._entries += 1
        said = outline(payload)
        if said is None:
            self._is_opaque = True
            return
        self._kinds.add(said.kind)
        self._dialects.add(said.request.dialect)
        self._ids.add(id_hash(said.id))
        if said.request.workspace_id is not None:
            self._workspaces.add(name_hash(said.request.workspace_id))
        elif not _is_owned(said):
            self._is_unowned = True
        if said.target.link_id is not None:
            self._links.add(name_hash(said.target.link_id))
        if said.target.code is not None:
            self._codes.add(code_hash(said.target.code))

    def end_frame(self, entries: int, *, is_opaque: bool = False) -> None:
        """End the present frame, which has so many lines."""
        self._frames.append(
            FrameContents(
                entries=entries,
                is_opaque=is_opaque or self._is_opaque,
                is_unowned=self._is_unowned,
                kinds=sorted(self._kinds),
                dialects=sorted(self._dialects),
                ids=sorted(self._ids),
                workspaces=sorted(self._workspaces),
                links=sorted(self._links),
                codes=sorted(self._codes),
            )
        )
        self._begin()

    def encode(self, key: str) -> bytes:
        """The file's bytes, with a checksum."""
        document = _Contents(version=_VERSION, key=key, frames=self._frames)
        data = ZstdCompressor(level=_LEVEL).compress(_ENCODER.encode(document))
        return crc32(data).to_bytes(_CHECKSUM_BYTES) + data


def _is_owned(said: Outline) -> bool:
    """Whether the workspace of an event follows from the link that it names."""
    link_id = said.target.link_id
    is_plain = said.kind == CLICK and not said.request.is_test
    return (
        is_plain and not said.request.api_key_hashes and link_id not in {None, NO_LINK}
    )


def contents_path(directory: Path, key: str) -> Path:
    """The path of a segment's contents."""
    return directory / f"{key}{CONTENTS_SUFFIX}"


def load_contents(directory: Path, segment: Segment) -> Sequence[FrameContents] | None:
    """What is in the frames of a segment; None if that is not known."""
    try:
        raw = contents_path(directory, segment.key).read_bytes()
        checksum, data = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
        # First: what is damaged may claim any size.
        if crc32(data).to_bytes(_CHECKSUM_BYTES) != checksum:
            return None
        found = _DECODER.decode(ZstdDecompressor().decompress(data))
    except (OSError, ZstdError, msgspec.DecodeError):
        return None
    is_of_it = (
        (found.version, found.key) == (_VERSION, segment.key)
        and len(found.frames) == len(segment.frames)
        and all(
            told.entries == frame.entries
            for told, frame in zip(found.frames, segment.frames, strict=True)
        )
    )
    return found.frames if is_of_it else None


def publish_contents(directory: Path, key: str, raw: bytes) -> None:
    """Write the contents of a segment, whole or not at all. Raises OSError."""
    path = contents_path(directory, key)
    draft = directory / OPEN / f"{path.name}.{os.getpid()}"
    write_synced(draft, raw)
    draft.replace(path)
    fsync_directory(path.parent)
