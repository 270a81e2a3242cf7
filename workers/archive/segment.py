"""The format of a segment: its path, its index, its lines. Values only.

A segment is one file of Zstandard frames, which `zstdcat` reads as one text: a JSON object
per line and event, in order of arrival. Its index is a JSON object in a second file; a segment without
an index was never finished. Both are written once. Only an erasure replaces the file by one
with the same lines in the same frames, where the lines of the erased person are
pseudonymized. The index and the file's name count these rewrites:

    <archive>/2025-11-21/1763700000003-0.s0.e7.1f2e3d4c.ndjson.zst
    <archive>/2025-11-21/1763700000003-0.s0.e7.1f2e3d4c.json

The day is the entries' day of arrival, in UTC; a segment holds one day. The name is the first
entry's id, the shard, the stream's epoch, and the beginning of the original file's SHA-256.
After one rewrite the file is `….1f2e3d4c.r1.ndjson.zst`, under the same index.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Self
from zlib import crc32

import orjson

from ingest.contracts.stream import EntryId
from workers.model.batch import Delivery, Entry

DATA_SUFFIX: Final = ".ndjson.zst"
INDEX_SUFFIX: Final = ".json"
#: The directory of unfinished segments, below the archive.
OPEN: Final = "open"

_VERSION: Final = 1
_DAY_MS: Final = 86_400_000
#: The year 9999. Edges and Redis never write larger ids.
_MAX_MS: Final = 253_370_764_799_999

# The beginning of an encoded envelope; a UUIDv7 begins with 48 bits of milliseconds.
_ACCEPTED: Final = re.compile(rb'\{"v":\d+,"i":"([0-9a-f]{12})7')
# All of a line before its payload, behind which one brace is left.
_HEAD: Final = re.compile(
    rb'\{"epoch":(\d+),"shard":(\d+),"id":"(\d+)-(\d+)",(?:"index":(\d+),)?'
    rb'"(event|raw)":'
)
_REWRITTEN: Final = re.compile(r"\.r(\d+)$")


class SegmentDamaged(Exception):
    """Bytes of the archive that are not what was written."""


class Span(NamedTuple):
    """A time range in Unix milliseconds, both ends included."""

    first: int
    last: int

    def overlaps(self, from_ms: int, to_ms: int) -> bool:
        """Whether it overlaps `from_ms` <= time < `to_ms`."""
        return self.first < to_ms and self.last >= from_ms

    def __or__(self, other: "Span") -> "Span":
        return Span(min(self.first, other.first), max(self.last, other.last))


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A part of a segment that is read on its own. `crc32` is of the compressed bytes."""

    offset: int
    length: int
    entries: int
    crc32: int
    accepted: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One finished segment, as its index describes it.

    `size` is the file's in bytes, `raw_size` the decompressed size. `accepted` is the range of
    the times at which edges accepted the events; `first` and `last` are entry ids, and so tell
    when they arrived. `kinds` counts the entries by kind of event; `?` is for other payloads.
    """

    key: str
    shard: int
    epoch: int
    first: EntryId
    last: EntryId
    accepted: Span
    entries: int
    kinds: Mapping[str, int]
    size: int
    raw_size: int
    sha256: str
    frames: tuple[Frame, ...]
    #: How often erasures rewrote it.
    rewritten: int = 0

    def data(self, directory: Path) -> Path:
        rewrites = f".r{self.rewritten}" if self.rewritten else ""
        return directory / f"{self.key}{rewrites}{DATA_SUFFIX}"

    def index(self, directory: Path) -> Path:
        return index_path(directory, self.key)

    def encode(self) -> bytes:
        """The index file's bytes, with a checksum."""
        document = {"version": _VERSION, **asdict(self)}
        del document["key"]
        if not self.rewritten:
            del document["rewritten"]
        document["first"], document["last"] = str(self.first), str(self.last)
        document["crc32"] = crc32(orjson.dumps(document, default=list))
        option = orjson.OPT_APPEND_NEWLINE
        return orjson.dumps(document, default=list, option=option)

    @classmethod
    def decode(cls, key: str, raw: bytes) -> Self:
        """Read an index file's bytes. Raises SegmentDamaged."""
        try:
            document = orjson.loads(raw)
            given = document.pop("crc32")
            if given != crc32(orjson.dumps(document)):
                raise SegmentDamaged("the index does not match its checksum")
            if document.pop("version") != _VERSION:
                raise SegmentDamaged("another version of Reftide wrote the index")
            frames = tuple(
                Frame(**each | {"accepted": Span(*each["accepted"])})
                for each in document.pop("frames")
            )
            known: dict[str, Any] = {
                "frames": frames,
                "first": EntryId.of(document.pop("first")),
                "last": EntryId.of(document.pop("last")),
                "accepted": Span(*document.pop("accepted")),
            }
            return cls(key=key, **known, **document)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SegmentDamaged(f"not an index: {error}") from error


def key_of(first: EntryId, shard: int, epoch: int, sha256: str) -> str:
    """A segment's path below the archive, without suffix. Keys sort by arrival."""
    name = f"{first.ms:013d}-{first.seq}.s{shard}.e{epoch}.{sha256[:8]}"
    return f"{day_of(first.ms)}/{name}"


def key_of_file(data: Path) -> str:
    """The key of the segment whose file this is or was."""
    name = _REWRITTEN.sub("", data.name.removesuffix(DATA_SUFFIX))
    return f"{data.parent.name}/{name}"


def index_path(directory: Path, key: str) -> Path:
    """The path of a segment's index."""
    return directory / f"{key}{INDEX_SUFFIX}"


def rewrite_count(data: Path) -> int:
    """The number of rewrites that a file's name states."""
    found = _REWRITTEN.search(data.name.removesuffix(DATA_SUFFIX))
    return int(found[1]) if found else 0


def day_of(ms: int) -> str:
    """The UTC day of Unix milliseconds, as 2025-11-21."""
    clamped = min(max(ms, 0), _MAX_MS)
    return datetime.fromtimestamp(clamped / 1000, UTC).date().isoformat()


def arrival_day(entry: Entry) -> int:
    """The day of an entry's arrival, in days since 1970."""
    return arrived_id(entry).ms // _DAY_MS


def accepted_ms(delivery: Delivery) -> int:
    """When an edge accepted it, by its event's id; else when it arrived. Unix milliseconds."""
    found = _ACCEPTED.match(delivery.payload)
    return int(found[1], 16) if found else arrived_id(delivery.entry).ms


def arrived_id(entry: Entry) -> EntryId:
    """The entry's id in Redis."""
    return EntryId.of(entry.stream_id)


def kind_of(payload: bytes) -> str | None:
    """The kind of the event; `?` if it names none, None if it is not one line of JSON."""
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    if b"\n" in payload or b"\r" in payload:
        return None
    kind = document.get("k") if isinstance(document, dict) else None
    return kind if isinstance(kind, str) else "?"


def line_of(delivery: Delivery, *, is_json: bool) -> bytes:
    """A delivery's line: the payload as it is, or in Base64 if it is not JSON."""
    entry, payload = delivery.entry, delivery.payload
    what = b"event" if is_json else b"raw"
    shown = payload if is_json else b'"%s"' % b64encode(payload)
    where = f'{{"epoch":{entry.epoch},"shard":{entry.shard},"id":"{entry.stream_id}"'
    if entry.ordinal:
        where += f',"index":{entry.ordinal}'
    return b'%s,"%s":%s}\n' % (where.encode(), what, shown)


def delivery_of(line: bytes) -> Delivery:
    """The delivery of a line, its payload byte for byte. Raises SegmentDamaged."""
    found = _HEAD.match(line)
    if found is None or not line.endswith(b"}"):
        raise SegmentDamaged("not a line of a segment")
    epoch, shard, ms, seq, index, what = found.groups()
    payload = line[found.end() : -1]
    if what == b"raw":
        try:
            payload = b64decode(payload[1:-1], validate=True)
        except Base64Error as error:
            raise SegmentDamaged(f"not Base64: {error}") from error
    entry = Entry.of(int(epoch), int(shard), int(ms), int(seq), int(index or 0))
    return Delivery(entry, payload)
