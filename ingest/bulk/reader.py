"""The events in the body of a batch: decompressed, and taken apart. Pure.

A body is limited to 2 MiB decompressed and 1,000 events. Events are not read here: that
takes time, and a batch yields to other requests between two of them.
"""

import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Final

import msgspec
import zstandard

from ingest.dialects.batch import BYTES, EVENTS
from ingest.dialects.spec.refusal import Refusal

#: What is decompressed at a time.
_PART_BYTES: Final = 64 * 1024
#: The largest that RFC 8878 requires of decoders; beyond it, senders would choose our memory.
_ZSTD_WINDOW: Final = 8 * 1024 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS
_NOT_GZIP: Final = "it is not one whole member of gzip"
_NOT_ZSTD: Final = "it is not one whole frame of zstd"

#: An array whose first elements are taken out. The rest is skipped, in a tenth of the time.
_FIRST_EVENTS: Final = msgspec.json.Decoder(
    msgspec.defstruct(
        "FirstEvents",
        [(f"event_{place}", msgspec.Raw, msgspec.Raw()) for place in range(EVENTS + 1)],
        array_like=True,
    )
)
_ANY: Final = msgspec.json.Decoder(msgspec.Raw)
_NO_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


#: Yields the bytes that it is about to make, at most; returns all of them.
Decoding = Generator[int, None, bytes]


def decoding(body: bytes, encoding: str) -> Decoding:
    """The body without its Content-Encoding, a part at a time.

    Raises Refusal: `encoding_unsupported`; `body_malformed` for truncated or invalid data;
    `body_too_large` as soon as the limit is exceeded.
    """
    decode = _DECODERS.get(encoding.strip().lower())
    if decode is None:
        raise Refusal("encoding_unsupported")
    found = yield from decode(body)
    if len(found) > BYTES:
        raise Refusal("body_too_large")
    return found


def _plain(body: bytes) -> Decoding:
    yield from ()
    return body


def _unzipped(body: bytes) -> Decoding:
    stream, found = zlib.decompressobj(_GZIP), bytearray()
    try:
        while not stream.eof and len(found) <= BYTES:
            yield _PART_BYTES
            part = stream.decompress(body, _PART_BYTES)
            body = stream.unconsumed_tail
            if not part and not body:
                break
            found += part
    except zlib.error as error:
        raise Refusal("body_malformed", problem=_NOT_GZIP) from error
    if len(found) <= BYTES and (not stream.eof or stream.unused_data):
        raise Refusal("body_malformed", problem=_NOT_GZIP)
    return bytes(found)


def _unpacked(body: bytes) -> Decoding:
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    found = bytearray()
    try:
        with unpacker.stream_reader(body) as reader:
            while len(found) <= BYTES:
                yield _PART_BYTES
                if not (part := reader.read(_PART_BYTES)):
                    break
                found += part
        # The reader takes what was cut short for the end. This does not, but it has
        # no bound: a frame may say that it is small and be large. Both have one state.
        stream = unpacker.decompressobj()
        if len(found) <= BYTES:
            yield len(found)
            stream.decompress(body)
    except zstandard.ZstdError as error:
        raise Refusal("body_malformed", problem=_NOT_ZSTD) from error
    if len(found) <= BYTES and (not stream.eof or stream.unused_data):
        raise Refusal("body_malformed", problem=_NOT_ZSTD)
    return bytes(found)


_DECODERS: Final[Mapping[str, Callable[[bytes], Decoding]]] = {
    "": _plain,
    "identity": _plain,
    "gzip": _unzipped,
    "x-gzip": _unzipped,  # RFC 9110: the same
    "zstd": _unpacked,
}


def events_in(raw: bytes) -> Sequence[bytes]:
    """The JSON of an array's elements, or lines that are not blank, which may be none.

    Raises Refusal: `body_malformed` if it is neither, or no line is JSON; `body_too_large`.
    An invalid line is refused alone; an invalid array is refused as a whole.
    """
    start = raw.lstrip()[:1]
    if start == b"[":
        events = _elements(raw)
    elif start == b"{":
        events = [line for line in raw.split(b"\n") if line.strip()]
    else:
        raise Refusal("body_malformed")
    if len(events) > EVENTS:
        problem = f"there are {len(events):,} events"
        raise Refusal("body_too_large", problem=problem)
    if start == b"{" and not any(map(_is_json, events)):
        raise Refusal("body_malformed")
    return events


def _elements(raw: bytes) -> Sequence[bytes]:
    """The elements of an array: all, or one more than a batch may have."""
    valid = _without_surrogates(raw)
    try:
        raw.decode()
        found = msgspec.structs.astuple(_FIRST_EVENTS.decode(valid))
    except _NO_JSON as error:
        raise Refusal("body_malformed") from error
    events, end = list[bytes](), 0
    for each in filter(None, found):
        # Between two elements is nothing that one begins with.
        start = valid.index(each, end)
        end = start + len(each)
        events.append(raw[start:end])
    return events


def _is_json(line: bytes) -> bool:
    try:
        _ANY.decode(_without_surrogates(line))
    except _NO_JSON:
        return False
    return True


def _without_surrogates(raw: bytes) -> bytes:
    r"""JSON of the same length, with other characters for all halves of surrogate pairs.

    They may be alone, which msgspec refuses: `\ud83d` becomes `\u083d`.
    """
    if rb"\ud" not in raw and rb"\uD" not in raw:
        return raw
    plain = raw.replace(rb"\\", b"..")
    return plain.replace(rb"\ud", rb"\u0").replace(rb"\uD", rb"\u0")
