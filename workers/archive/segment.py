"""What a segment of the archive is: its place on the disk, its index, its lines. Values only.

A segment is one file of Zstandard frames, one after the other, which `zstdcat` reads as one
text: a JSON object per line, in order of arrival. Beside it stands its index, one JSON
object; a segment without one was never finished. Both are written once. Only an erasure puts
another file in the place of one, with the same lines in the same frames, those of the erased
person under pseudonyms; its index says how often that was, and so does its name:

    <archive>/2025-11-21/1763700000003-0.s0.e7.1f2e3d4c.ndjson.zst
    <archive>/2025-11-21/1763700000003-0.s0.e7.1f2e3d4c.json

The day is that of the entries' arrival, in UTC, and a segment has but one; the name is the first entry's id, the
shard, the life of its stream, and the beginning of the SHA-256 of the file as it was first.
Rewritten once it is `….1f2e3d4c.r1.ndjson.zst`, under the same index.
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
#: Where segments are that are being written, below the archive.
OPEN: Final = "open"

_VERSION: Final = 1
_DAY_MS: Final = 86_400_000
#: Until the year 9999. Only a foreign hand writes ids beyond.
_MAX_MS: Final = 253_370_764_799_999

# As `envelope.encode` begins, and as ids of version 7 do: 48 bits of milliseconds.
_ACCEPTED: Final = re.compile(rb'\{"v":\d+,"i":"([0-9a-f]{12})7')
_LINE: Final = re.compile(
    rb'\{"epoch":(\d+),"shard":(\d+),"id":"(\d+)-(\d+)","(event|raw)":(.*)\}'
)
_REWRITTEN: Final = re.compile(r"\.r(\d+)$")


class SegmentDamaged(Exception):
    """Bytes of the archive that are not what was written."""


class Span(NamedTuple):
    """From when to when, both ends included, in Unix milliseconds."""

    first: int
    last: int

    def overlaps(self, from_ms: int, to_ms: int) -> bool:
        """Whether some of it lies in a range, which does not have its end."""
        return self.first < to_ms and self.last >= from_ms

    def __or__(self, other: "Span") -> "Span":
        return Span(min(self.first, other.first), max(self.last, other.last))


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A part of a segment that can be read on its own. `crc32` is of its bytes as stored."""

    offset: int
    length: int
    entries: int
    crc32: int
    accepted: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One finished segment, as its index tells.

    `size` is that of the file in bytes, `raw_size` that of what `zstdcat` makes of it. `accepted` is
    when edges took the events; `first` and `last` are the ids of entries, and so tell when
    they arrived. `kinds` counts the entries by kind of event; `?` is what is no event.
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
    #: How often erasures put another file in its place.
    rewritten: int = 0

    def data(self, directory: Path) -> Path:
        return directory / f"{self.key}{_rewrite_suffix(self.rewritten)}{DATA_SUFFIX}"

    def index(self, directory: Path) -> Path:
        return directory / f"{self.key}{INDEX_SUFFIX}"

    def encode(self) -> bytes:
        """The index' bytes; they carry a checksum of their own."""
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
        """The segment of an index. Raises SegmentDamaged."""
        try:
            document = orjson.loads(raw)
            given = document.pop("crc32")
            if given != crc32(orjson.dumps(document)):
                raise SegmentDamaged("the index is not what was written")
            if document.pop("version") != _VERSION:
                raise SegmentDamaged("the index is of another version of Reftide")
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
            raise SegmentDamaged(f"no index: {error}") from error


def key_of(first: EntryId, shard: int, epoch: int, sha256: str) -> str:
    """A segment's name with its day, without a suffix. Keys sort as entries arrived."""
    name = f"{first.ms:013d}-{first.seq}.s{shard}.e{epoch}.{sha256[:8]}"
    return f"{day_of(first.ms)}/{name}"


def index_of(data: Path) -> Path:
    """The index of a file of a segment, also of one that another took the place of."""
    name = _REWRITTEN.sub("", data.name.removesuffix(DATA_SUFFIX))
    return data.with_name(f"{name}{INDEX_SUFFIX}")


def rewrite_count(data: Path) -> int:
    """How often a file's segment had been rewritten when it was written."""
    found = _REWRITTEN.search(data.name.removesuffix(DATA_SUFFIX))
    return int(found[1]) if found else 0


def _rewrite_suffix(times: int) -> str:
    return f".r{times}" if times else ""


def day_of(ms: int) -> str:
    """The day of a time in Unix milliseconds, as 2025-11-21."""
    clamped = min(max(ms, 0), _MAX_MS)
    return datetime.fromtimestamp(clamped / 1000, UTC).date().isoformat()


def arrival_day(entry: Entry) -> int:
    """The day of an entry's arrival, since 1970."""
    return arrived_id(entry).ms // _DAY_MS


def accepted_ms(delivery: Delivery) -> int:
    """When an edge took it, by its event's id; without one, when it arrived."""
    found = _ACCEPTED.match(delivery.payload)
    return int(found[1], 16) if found else arrived_id(delivery.entry).ms


def arrived_id(entry: Entry) -> EntryId:
    """The id as Redis knows it."""
    return EntryId.of(entry.stream_id)


def kind_of(payload: bytes) -> str | None:
    """The kind of the event; `?` where it names none, None where it is no line of JSON."""
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    if b"\n" in payload or b"\r" in payload:
        return None
    kind = document.get("k") if isinstance(document, dict) else None
    return kind if isinstance(kind, str) else "?"


def line_of(delivery: Delivery, *, is_json: bool) -> bytes:
    """Its line; the payload stands there as it is, or as Base64 where it is not JSON."""
    entry, payload = delivery.entry, delivery.payload
    what = b"event" if is_json else b"raw"
    shown = payload if is_json else b'"%s"' % b64encode(payload)
    where = f'{{"epoch":{entry.epoch},"shard":{entry.shard},"id":"{entry.stream_id}"'
    return b'%s,"%s":%s}\n' % (where.encode(), what, shown)


def delivery_of(line: bytes) -> Delivery:
    """What a line holds, byte for byte as it was. Raises SegmentDamaged."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise SegmentDamaged("not a line of an archive")
    epoch, shard, ms, seq = (int(found[part]) for part in range(1, 5))
    payload = found[6]
    if found[5] == b"raw":
        try:
            payload = b64decode(payload[1:-1], validate=True)
        except Base64Error as error:
            raise SegmentDamaged(f"not Base64: {error}") from error
    return Delivery(Entry.of(epoch, shard, ms, seq), payload)
