"""The events in the body of a batch: decompressed, and parsed one by one. Pure.

A body is limited to 2 MiB decompressed and 1,000 events.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Union

import zstandard

from ingest.contracts.storable import Json
from ingest.dialects.batch import BYTES, EVENTS
from ingest.dialects.body import json_value
from ingest.dialects.spec import Refusal

#: The largest that RFC 8878 requires of decoders; beyond it, senders would choose our memory.
_ZSTD_WINDOW: Final = 8 * 1024 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS
_NOT_GZIP: Final = "it is not one whole member of gzip"
_NOT_ZSTD: Final = "it is not one whole frame of zstd"

#: The value of one line or element, or why it has none.
Read = Union[Json, Refusal]  # noqa: UP007 -- Json is recursive, and a text in there


def decoded(body: bytes, encoding: str) -> bytes:
    """The body without its Content-Encoding.

    Raises Refusal: `encoding_unsupported`; `body_malformed` for truncated or invalid data;
    `body_too_large` as soon as the limit is exceeded.
    """
    decode = _DECODERS.get(encoding.strip().lower())
    if decode is None:
        raise Refusal("encoding_unsupported")
    found = decode(body)
    if len(found) > BYTES:
        raise Refusal("body_too_large")
    return found


def _unzipped(body: bytes) -> bytes:
    stream = zlib.decompressobj(_GZIP)
    try:
        found = stream.decompress(body, BYTES + 1)
    except zlib.error as error:
        raise Refusal("body_malformed", problem=_NOT_GZIP) from error
    if len(found) <= BYTES and (not stream.eof or stream.unused_data):
        raise Refusal("body_malformed", problem=_NOT_GZIP)
    return found


def _unpacked(body: bytes) -> bytes:
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    stream = unpacker.decompressobj()
    try:
        with unpacker.stream_reader(body) as reader:
            found = reader.read(BYTES + 1)
        if len(found) <= BYTES:
            # The reader takes what was cut short for the end. This does not, but it has
            # no bound: a frame may say that it is small and be large.
            stream.decompress(body)
    except zstandard.ZstdError as error:
        raise Refusal("body_malformed", problem=_NOT_ZSTD) from error
    if len(found) <= BYTES and (not stream.eof or stream.unused_data):
        raise Refusal("body_malformed", problem=_NOT_ZSTD)
    return found


_DECODERS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "": bytes,
    "identity": bytes,
    "gzip": _unzipped,
    "x-gzip": _unzipped,  # RFC 9110: the same
    "zstd": _unpacked,
}


def events_in(raw: bytes) -> Sequence[Read]:
    """The values of an array's elements, or of lines that are not blank.

    Raises Refusal: `body_malformed` if it is neither, `body_too_large`. An invalid line is
    refused alone, unless all lines are invalid; an invalid array is refused as a whole.
    """
    start = raw.lstrip()[:1]
    if start == b"[":
        found = json_value(raw)
        events: Sequence[Read] = found if isinstance(found, list) else []
    elif start == b"{":
        lines = [line for line in raw.split(b"\n") if line.strip()]
        _bound(len(lines))
        events = [_line(line) for line in lines]
        if all(isinstance(event, Refusal) for event in events):
            raise Refusal("body_malformed")
    else:
        raise Refusal("body_malformed")
    _bound(len(events))
    return events


def _bound(count: int) -> None:
    if count > EVENTS:
        raise Refusal("body_too_large", problem=f"there are {count:,} events")


def _line(line: bytes) -> Read:
    try:
        return json_value(line)
    except Refusal as refusal:
        return refusal
