"""Spans in the binary form of OTLP: `opentelemetry/proto/trace/v1/trace.proto` of OTLP 1.

The SDK's own encoder takes ten times as long, more than the edge takes for a whole click. A
property test holds both together.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple

#: A text, a whole number, or the ids of some events, 16 bytes each.
Attribute = str | int | Sequence[bytes]


class Kind(IntEnum):
    """What a span stands for, by its number on the wire."""

    INTERNAL = 1
    SERVER = 2
    PRODUCER = 4
    CONSUMER = 5


class Context(NamedTuple):
    """The ids of a span."""

    #: 16 bytes.
    trace_id: bytes
    #: 8 bytes.
    span_id: bytes
    #: Whether another process began the span.
    is_remote: bool = False


_IDS: Final = b"\x0a\x10%b\x12\x08%b"
_PARENT: Final = b"\x22\x08%b"
#: When it began and ended, Unix nanoseconds.
_TIMES: Final = Struct("<cQcQ")
_BEGAN, _ENDED = b"\x39", b"\x41"
_OK, _FAILED = b"\x7a\x00", b"\x7a\x02\x18\x02"
#: It is known whether the parent is remote, and it is.
_LOCAL, _REMOTE = 0x100.to_bytes(4, "little"), 0x300.to_bytes(4, "little")
_FLAGS, _LINK_FLAGS = b"\x85\x01", b"\x35"


def resource(
    attributes: Mapping[str, str], scope: str, version: str
) -> tuple[bytes, bytes]:
    """What comes before all spans of a process: of its resource, and of its scope."""
    own = b"".join(
        _part(1, _pair(name, _text(1, said))) for name, said in attributes.items()
    )
    return _part(1, own), _part(1, _text(1, scope) + _text(2, version))


def request(process: tuple[bytes, bytes], spans: Iterable[bytes]) -> bytes:
    """An `ExportTraceServiceRequest` of encoded spans; `process` is what `resource` gives."""
    own, scope = process
    return _part(
        1, own + _part(2, scope + b"".join([_part(2, each) for each in spans]))
    )


def span(  # noqa: PLR0913 -- a span has so many sides
    context: Context,
    parent: Context | None,
    *,
    name: str,
    kind: Kind,
    began: int,
    ended: int,
    attributes: Mapping[str, Attribute],
    links: Sequence[Context] = (),
    failed: bool = False,
) -> bytes:
    """One `Span`; `began` and `ended` in Unix nanoseconds."""
    return b"".join(
        [
            _IDS % context[:2],
            b"" if parent is None else _PARENT % parent.span_id,
            _named(name, kind),
            _TIMES.pack(_BEGAN, began, _ENDED, ended),
            *[
                _attribute(key, said)
                if isinstance(said, str | int)
                else _events(key, said)
                for key, said in attributes.items()
            ],
            *[_part(13, _IDS % each[:2] + _flags(_LINK_FLAGS, each)) for each in links],
            _FAILED if failed else _OK,
            _flags(_FLAGS, parent),
        ]
    )


def _flags(tag: bytes, context: Context | None) -> bytes:
    return tag + (_REMOTE if context is not None and context.is_remote else _LOCAL)


@lru_cache
def _named(name: str, kind: Kind) -> bytes:
    return _text(5, name) + b"\x30%c" % kind


@lru_cache(1024)
def _attribute(key: str, said: str | int) -> bytes:
    value = _text(1, said) if isinstance(said, str) else b"\x18" + _varint(said)
    return _part(9, _pair(key, value))


def _events(key: str, ids: Sequence[bytes]) -> bytes:
    values = b"".join([_part(1, _text(1, _uuid(each))) for each in ids])
    return _part(9, _pair(key, _part(5, values)))


def _pair(key: str, value: bytes) -> bytes:
    return _text(1, key) + _part(2, value)


def _uuid(raw: bytes) -> str:
    digits = raw.hex()
    groups = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "-".join(groups)


def _text(field: int, text: str) -> bytes:
    return _part(field, text.encode())


def _part(field: int, content: bytes) -> bytes:
    """A field with a length; its number is below 16."""
    return b"%c%b%b" % (field << 3 | 2, _varint(len(content)), content)


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:  # noqa: PLR2004 -- seven bits a byte
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)
