"""Follows the requests of a connection that aiohttp has.

It knows what aiohttp does not tell: whether a request has begun behind the last one. It bounds
the lines before chunks, which aiohttp reads without end, and refuses other versions of HTTP.
"""

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

#: Of a chunk's size and extensions, at least; aiohttp's own bound for other lines.
_LINE_BYTES: Final = 8190
_PIECE_BYTES: Final = 4096
_VERSIONS: Final = frozenset({"1.0", "1.1"})
_LENGTHS: Final = frozenset({b"content-length", b"transfer-encoding"})
#: A request of the same length, that asks for no other protocol.
_AGAIN: Final = b"POST / HTTP/1.1\r\n%b\r\n"
#: aiohttp refuses it in such a line, in the words of the route.
_REFUSED: Final = b"\0"


class Framing:
    """Where requests begin and end."""

    #: Whether a request has begun and is not complete, as far as that can be told.
    has_begun = False

    def __init__(self) -> None:
        self._is_followed = True
        self._is_refused = False
        self._is_in_body = False
        #: The headers of the request under way that say where it ends.
        self._lengths = b""
        #: Bytes since the parser has said something.
        self._still = 0
        # Called by the parser, which looks for them when it is made.
        self.on_url = self.on_body = self._move
        self.on_chunk_header = self.on_chunk_complete = self._move
        self._parser = HttpRequestParser(self)

    def follow(self, data: bytes) -> bytes:
        """What aiohttp may have of what came: all of it, unless a line is too long."""
        if self._is_refused:
            return b""
        for start in range(0, len(data) if self._is_followed else 0, _PIECE_BYTES):
            piece = data[start : start + _PIECE_BYTES]
            self._still += len(piece)
            self._read(piece)
            self._is_refused |= self._still > _LINE_BYTES
            if self._is_refused:
                return data[:start] + _REFUSED
        return data

    def _read(self, piece: bytes) -> None:
        try:
            self._parser.feed_data(piece)
        except HttpParserUpgrade as upgrade:
            # The parser passes over the body. aiohttp reads it, and more requests behind it.
            rest = _AGAIN % self._lengths + piece[upgrade.args[0] :]
            self._parser = HttpRequestParser(self)
            self._read(rest)
        except HttpParserError:
            # aiohttp refuses such a body in the words of the route, but not every such head.
            self._is_refused |= not self._is_in_body
            self._is_followed = False
            self.has_begun = True
            self._still = 0

    def _move(self, *_: object) -> None:
        self._still = 0

    def on_message_begin(self) -> None:
        self.has_begun = True
        self._is_in_body = False
        self._lengths = b""
        self._still = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._still = 0
        if name.lower() in _LENGTHS:
            self._lengths += b"%b: %b\r\n" % (name, value)

    def on_headers_complete(self) -> None:
        self._still = 0
        self._is_in_body = True
        # aiohttp would answer in the version that was asked for.
        self._is_refused |= self._parser.get_http_version() not in _VERSIONS

    def on_message_complete(self) -> None:
        self.has_begun = self._is_in_body = False
        self._still = 0
