"""Follows the requests that aiohttp answers.

It knows what aiohttp does not tell: whether a request has begun behind the last one. And it
bounds what aiohttp reads without end: heads, lines before chunks, and the number of chunks,
trailers and slashes. It refuses heads that aiohttp would take for something else.
"""

import re
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

#: Of a chunk's size and extensions, at least; aiohttp's own bound for other lines.
_LINE_BYTES: Final = 8190
_HEAD_BYTES: Final = 32 * 1024
#: Pieces and chunks, of which aiohttp takes a microsecond for each: 2 MiB by 1 KiB.
_PARTS: Final = 2700
#: A header or trailer takes as long as so many.
_PARTS_OF_A_HEADER: Final = 8
#: aiohttp looks for a route at each, in time that grows with their square.
_SLASHES: Final = 64
_PIECE_BYTES: Final = 4096
_VERSIONS: Final = frozenset({"1.0", "1.1"})
_LENGTHS: Final = frozenset({b"content-length", b"transfer-encoding"})
_LENGTH: Final = re.compile(rb"(?i)^content-length: (\d{1,18})\r", re.MULTILINE)
_END: Final = b"\r\n\r\n"
#: A request of the same length, that asks for no other protocol.
_AGAIN: Final = b"POST / HTTP/1.1\r\n%b\r\n"
#: aiohttp refuses it: behind a head, in the words of the route.
_REFUSED: Final = b"\0"


class Framing:
    """Where requests begin and end."""

    #: Whether a request has begun and is not complete, as far as that can be told.
    has_begun = False

    def __init__(self) -> None:
        self._is_followed = True
        self._is_refused = False
        #: The headers of a request that say where it ends.
        self._lengths = b""
        #: The last bytes of what came before, with which a request may end.
        self._before = b""
        self._begin()
        # Called by the parser, which looks for them when it is made.
        self.on_chunk_header = self._move
        self._parser = HttpRequestParser(self)

    def _begin(self) -> None:
        """Expect a request."""
        self._is_in_body = False
        self._head = self._parts = self._slashes = 0
        #: Bytes of a body whose length was announced.
        self._left = 0
        #: Bytes since the parser has said something.
        self._still = 0

    def follow(self, data: bytes) -> list[bytes]:
        """What aiohttp may have of what came: all of it, unless it is refused."""
        if self._is_refused:
            return []
        start = 0
        while start < len(data) and self._is_followed:
            stop, was_in_body = self._stop(data, start), self._is_in_body
            self._take(data[start:stop])
            self._is_refused = self._must_refuse()
            if self._is_refused:
                # aiohttp forgets the requests that come together with a malformed head.
                is_apart = start and not was_in_body
                parts = [data[:start], _REFUSED]
                return parts if is_apart else [b"".join(parts)]
            start = stop
        self._before = data[-3:]
        return [data]

    def _stop(self, data: bytes, start: int) -> int:
        """Where the piece ends that starts there: where a request may end, at the latest."""
        if self._left:
            return start + min(self._left, _PIECE_BYTES)
        before = data[max(0, start - 3) : start] if start else self._before
        piece = before + data[start : start + _PIECE_BYTES]
        end = piece.find(_END)
        return start + (_PIECE_BYTES if end < 0 else end + len(_END) - len(before))

    def _take(self, piece: bytes) -> None:
        self._still += len(piece)
        self._parts += 1
        if not self._is_in_body:
            self._head += len(piece)
        self._read(piece)

    def _must_refuse(self) -> bool:
        return (
            self._is_refused
            or self._still > _LINE_BYTES
            or self._head > _HEAD_BYTES
            or self._parts > _PARTS
            or self._slashes > _SLASHES
        )

    def _read(self, piece: bytes) -> None:
        try:
            self._parser.feed_data(piece)
        except HttpParserUpgrade:
            # The parser passes over the body. aiohttp reads it, and more requests behind it.
            head = _AGAIN % self._lengths
            self._parser = HttpRequestParser(self)
            self._read(head)
        except HttpParserError:
            # aiohttp refuses such a body, but not every such head.
            self._is_refused |= not self._is_in_body
            self._is_followed = False
            self.has_begun = True
            self._still = 0

    def _move(self, *_: object) -> None:
        self._still = 0

    def on_body(self, body: bytes) -> None:
        self._still = 0
        self._left = max(0, self._left - len(body))

    def on_chunk_complete(self) -> None:
        self._still = 0
        self._parts += 1

    def on_message_begin(self) -> None:
        self.has_begun = True
        self._lengths = b""

    def on_url(self, url: bytes) -> None:
        self._move()
        self._slashes += url.count(b"/")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._still = 0
        self._parts += _PARTS_OF_A_HEADER
        if name.lower() in _LENGTHS:
            self._lengths += b"%b: %b\r\n" % (name, value)

    def on_headers_complete(self) -> None:
        self._move()
        self._is_in_body = True
        length = _LENGTH.search(self._lengths)
        self._left = int(length[1]) if length else 0
        self._is_refused |= self._parser.get_http_version() not in _VERSIONS

    def on_message_complete(self) -> None:
        self.has_begun = False
        self._begin()
