"""The head of a plain request: its headers by name, decoded when they are asked for.

Clients send the same few combinations of names, so what follows from the names alone is
kept: where a header is, and whether the request can be plain at all.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec

END: Final = b"\r\n\r\n"

#: aiohttp refuses a request with more headers.
_MOST_HEADERS: Final = 128
_LENGTH_DIGITS: Final = 6
_COMBINATIONS_KEPT: Final = 512
#: With one of these, or with a name that comes twice, a request is not plain.
_SPECIAL: Final = frozenset(
    {
        "transfer-encoding",
        "content-encoding",
        "expect",
        "upgrade",
        "te",
        "trailer",
        "x-reftide-forward",
    }
)

#: With one of these, only aiohttp can tell where a request ends, or when its body comes.
_FRAMING: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade"})


class Head(msgspec.Struct, frozen=True, gc=False):
    """The headers of one request, of which no two have the same name."""

    #: Where the body begins.
    size: int
    #: The names as they were sent, by the names in lower case.
    names: Mapping[str, bytes]
    #: ASCII, by the names as they were sent.
    values: Mapping[bytes, bytes]

    def get(self, name: str) -> str | None:
        """The value of a header, by its name in lower case."""
        sent = self.names.get(name)
        return None if sent is None else self.values[sent].decode("ascii")

    def decoded(self) -> dict[str, str]:
        """All headers, by their names in lower case."""
        return {
            name: self.values[sent].decode("ascii") for name, sent in self.names.items()
        }


def plain_head(raw: bytes, values: dict[bytes, bytes]) -> Head | None:
    """The head of a request that came whole; None if the request is not plain.

    `values` are the headers that the parser found; of two with one name it has the second.
    """
    names = _names(tuple(values))
    if names is None:
        return None
    length = values.get(names.get("content-length", b""), b"0")
    if not length.isdigit() or len(length) > _LENGTH_DIGITS:
        return None
    size = len(raw) - int(length)
    # If this is not the first empty line, the head has more lines than headers. So it has
    # where the parser lost or folded one.
    if (
        raw[size - 4 : size] != END
        or raw.count(b"\r", 0, size) != len(values) + 2
        or not raw[:size].isascii()
    ):
        return None
    return Head(size, names, values)


def body_length(raw: bytes) -> int | None:
    """How long a request's body is; None if that takes more than its head says.

    `raw` holds the whole head.
    """
    lines = raw[: raw.find(END)].lower().split(b"\r\n")[1:]
    pairs = [line.partition(b":") for line in lines]
    lengths = [value.strip() for name, _, value in pairs if name == b"content-length"]
    if len(lengths) > 1 or any(name in _FRAMING for name, _, _ in pairs):
        return None
    length = lengths[0] if lengths else b"0"
    return int(length) if length.isdigit() and len(length) <= _LENGTH_DIGITS else None


@lru_cache(_COMBINATIONS_KEPT)
def _names(sent: tuple[bytes, ...]) -> Mapping[str, bytes] | None:
    """Names in lower case, and as they were sent; None: no request with them is plain."""
    names = {name.decode("ascii").lower(): name for name in sent}
    are_plain = len(names) == len(sent) < _MOST_HEADERS and _SPECIAL.isdisjoint(names)
    return names if are_plain else None
